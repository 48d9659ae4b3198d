"""Which call a fragment belongs to, in the ways in which servers number them."""

import pytest

from enclave_server.chat.conversation import Call, CallDelta, Function, FunctionDelta
from enclave_server.chat.dialects.openai_chat.calls import UNNUMBERED, Numbering, identify


def part(
    index: int, identifier: str | None = None, name: str | None = None, arguments: str = ""
) -> CallDelta:
    return CallDelta(index, identifier, None, FunctionDelta(name, arguments))


WAYS: dict[str, tuple[list[CallDelta], list[int]]] = {
    "as OpenAI does": (
        [part(0, "a", "f"), part(0), part(1, "b", "g"), part(1), part(0)],
        [0, 0, 1, 1, 0],
    ),
    "the identifier again and again": ([part(0, "a", "f"), part(0, "a", "f")], [0, 0]),
    "all are number 0": ([part(0, "a", "f"), part(0, "b", "g"), part(0)], [0, 1, 1]),
    "none has a number": (
        [part(UNNUMBERED, "a", "f"), part(UNNUMBERED, "b", "f"), part(UNNUMBERED)],
        [0, 1, 1],
    ),
    "no number, the identifier again": (
        [part(UNNUMBERED, "a", "f"), part(UNNUMBERED, "a", "f"), part(UNNUMBERED, "b", "f")],
        [0, 0, 1],
    ),
    "neither number nor identifier": (
        [part(UNNUMBERED, "", "f"), part(UNNUMBERED, "", "g")],
        [0, 1],
    ),
    "counted from 1, with gaps": ([part(1, "a", "f"), part(4, "b", "g"), part(1)], [0, 1, 0]),
    "an identifier of its own for each fragment": (
        [part(0, "a", "f"), part(0, "b"), part(0, "c", "")],
        [0, 0, 0],
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_fragments_come_to_their_calls(way: str) -> None:
    parts, numbers = WAYS[way]
    numbering = Numbering()
    for each in parts:
        numbering.take(each)
    assert [each.index for each in parts] == numbers


def test_a_call_without_an_identifier_gets_one_of_its_own() -> None:
    numbering = Numbering()
    parts = [part(0, None, "f"), part(1, "", "g"), part(0)]
    for each in parts:
        numbering.take(each)
    first, second, rest = (each.id for each in parts)
    assert first
    assert second
    assert first != second
    assert rest is None


def test_calls_of_a_whole_answer_are_identified() -> None:
    calls = [Call("a", Function("f", ""), "x"), Call("", Function("f", ""))]
    identify(calls)
    assert (calls[0].id, calls[0].type) == ("a", "function")
    assert calls[1].id.startswith("call_")


def test_minus_one_is_no_number() -> None:
    numbering = Numbering()
    for name, number in (("f", 0), ("g", 1)):
        fragment = CallDelta(-1, None, None, FunctionDelta(name, "{}"))
        numbering.take(fragment)
        assert fragment.index == number

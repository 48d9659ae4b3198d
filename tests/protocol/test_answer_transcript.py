"""What the second version of a signature covers, octet by octet, and what it refuses to cover."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.answer_transcript import encode_answer, encode_choices, message_of
from protocol.errors import SignatureInvalid

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü"}'}}


def part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def chat(index: int = 0, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": index, "message": message, "finish_reason": finish}


def test_the_octets_are_as_documented() -> None:
    choices = [
        chat(content="Zürich", refusal="no", reasoning_content="hm", tool_calls=[CALL]),
        {"index": 12, "text": "b", "finish_reason": None},
    ]
    parts = [b"oblivious-inference choices 2", b"2"]
    parts += [b"0", "Zürich".encode(), b"hm", b"no", b"1"]
    parts += [b"c1", b"f", '{"a": "ü"}'.encode(), b"stop"]
    parts += [b"12", b"b", b"", b"", b"0", b""]
    assert encode_choices(choices) == b"".join(map(part, parts))
    signed = encode_answer("ed25519", b"i" * 32, (b"q" * 32, b"a" * 32), "m", 1_777_000_000)
    parts = [b"oblivious-inference answer 2", b"ed25519", b"i" * 32, b"q" * 32, b"a" * 32]
    assert signed == b"".join(map(part, [*parts, b"m", b"1777000000"]))


def test_whole_streamed_and_flat_say_the_same() -> None:
    whole = chat(content=None, refusal=None, tool_calls=[CALL])
    numbered = {"index": 0, **CALL}
    streamed = chat(role="assistant", content="", tool_calls=[numbered])
    flat = {"index": 0, "finish_reason": "stop", "content": "", "tool_calls": [CALL]}
    assert encode_choices([whole]) == encode_choices([streamed]) == encode_choices([flat])
    assert message_of(flat) is flat


# The strings are few and alike, so that one means another wherever that is possible.
TEXTS = st.text("0c\x00", max_size=3)
CALLS = st.builds(
    lambda id_, name, arguments: {"id": id_, "function": {"name": name, "arguments": arguments}},
    TEXTS,
    TEXTS,
    TEXTS,
)
CHOICES = st.lists(
    st.builds(
        lambda index, finish, said: {"index": index, "finish_reason": finish, "message": said},
        st.integers(0, 10),
        TEXTS,
        st.fixed_dictionaries(
            {
                "content": TEXTS,
                "reasoning_content": TEXTS,
                "refusal": TEXTS,
                "tool_calls": st.lists(CALLS, max_size=2),
            }
        ),
    ),
    max_size=2,
)


@given(CHOICES, CHOICES)
def test_two_answers_are_never_one(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert (encode_choices(one) == encode_choices(other)) == (one == other)


@given(CHOICES)
def test_no_text_says_what_an_answer_says(choices: list[dict[str, Any]]) -> None:
    """A model repeats what it is asked to repeat: that is signed as its text, and nothing else."""
    repeated = encode_choices(choices).decode("ascii")
    assert encode_choices([chat(content=repeated)]) != encode_choices(choices)


STATE = {"oblivious": {"state": "AZ-_09az"}}


def test_a_state_says_nothing_and_is_not_covered() -> None:
    given = chat(tool_calls=[{**CALL, "extra_content": STATE}], extra_content=STATE)
    assert encode_choices([given]) == encode_choices([chat(tool_calls=[CALL])])


def set_in_call(name: str, value: object) -> dict[str, Any]:
    return chat(tool_calls=[{**CALL, name: value}])


REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "no number": lambda: {"message": {"content": "a"}},
    "a truth as number": lambda: chat(index=True, content="a"),
    "no message": lambda: {"index": 0, "message": "a"},
    "two texts in a message": lambda: chat(content="a", text="b"),
    "a text beside the message": lambda: {**chat(content="a"), "text": "b"},
    "content beside the message": lambda: {**chat(content="a"), "content": "b"},
    "parts": lambda: chat(content=[{"type": "text"}]),
    "a number as refusal": lambda: chat(refusal=0),
    "a list as reasoning": lambda: chat(reasoning_content=[]),
    "a truth as end": lambda: chat(finish=True, content="a"),  # type: ignore[arg-type]
    "a lone surrogate": lambda: chat(content="\ud800"),
    "a call alone": lambda: chat(tool_calls=CALL),
    "calls that are no list": lambda: chat(tool_calls={}),
    "no call": lambda: chat(tool_calls=["a"]),
    "no function": lambda: chat(tool_calls=[{"id": "a"}]),
    "another kind of call": lambda: set_in_call("type", "custom"),
    "a member of a call": lambda: set_in_call("note", "unsigned"),
    "a member of a function": lambda: set_in_call("function", {"name": "f", "strict": True}),
    "words in the place of a state": lambda: set_in_call(
        "extra_content", {"oblivious": {"state": "two words"}}
    ),
    "another member beside a state": lambda: set_in_call("extra_content", {**STATE, "note": 1}),
    "another member within a state": lambda: set_in_call(
        "extra_content", {"oblivious": {**STATE["oblivious"], "note": "x"}}
    ),
    "a state that is none": lambda: set_in_call("extra_content", None),
    "arguments that are no text": lambda: set_in_call("function", {"arguments": {}}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_go_unsigned_or_mean_two_things(name: str) -> None:
    with pytest.raises(SignatureInvalid):
        encode_choices([REFUSED[name]()])


def test_an_answer_of_no_model_that_has_a_name() -> None:
    with pytest.raises(SignatureInvalid):
        encode_answer("ed25519", b"", (b"", b""), 5, 1)

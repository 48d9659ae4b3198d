"""Calls in pieces become whole ones, or a failure; parts of other kinds are passed on."""

import json
from typing import Any

import msgspec
import pytest

from enclave_server.chat.dialects.gemini.partial_calls import (
    MAX_OCTETS,
    MAX_STEPS,
    VALUE_OCTETS,
    Folder,
)
from enclave_server.chat.dialects.gemini.shapes import FunctionCall, Part, PartialArg
from enclave_server.chat.errors import UpstreamError
from tests.support.gemini_server import SIGNATURE, begun, piece


def fold(*parts: dict[str, Any]) -> list[Part]:
    folder = Folder()
    read = [msgspec.json.decode(json.dumps(part), type=Part) for part in parts]
    return [*(whole for part in read for whole in folder.take(part)), *folder.end()]


def arguments(*pieces: dict[str, Any]) -> Any:
    (part,) = fold(begun("f"), *pieces)
    assert part.function_call is not None
    return json.loads(msgspec.json.encode(part.function_call.args))


def test_parts_that_are_whole_are_passed_on() -> None:
    parts = [Part("a"), Part(function_call=FunctionCall("f", {}))]
    folder = Folder()
    assert [whole for part in parts for whole in folder.take(part)] == parts
    assert [*folder.end()] == []


def test_call_has_its_name_its_identifier_and_its_signature() -> None:
    first = begun("f", thoughtSignature=SIGNATURE)
    first["functionCall"]["id"] = "c"
    (part,) = fold(first, piece("$.a", number=1, last=True))
    assert part.thought_signature == SIGNATURE
    assert part.function_call == FunctionCall("f", {"a": msgspec.Raw(b"1")}, "c")


def test_calls_follow_one_another_with_or_without_an_end() -> None:
    ended: dict[str, Any] = {"functionCall": {}}
    parts = fold(begun("f"), ended, begun("g"), piece("$.a", string="b"))
    assert [part.function_call and part.function_call.name for part in parts] == ["f", "g"]


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([], {}),
        ([piece("$.a", string="b", more=True), piece("$.a", string="c")], {"a": "bc"}),
        ([piece("$.a", string="b", more=True), piece("$.a", string="b")], {"a": "bb"}),
        ([piece("$.a", number=1), piece("$.a", number=2)], {"a": 2}),
        ([piece("$.a", number=1), piece("$.b", number=0.5)], {"a": 1, "b": 0.5}),
        ([piece("$.a"), piece("$['b c']", string="d")], {"a": None, "b c": "d"}),
        (
            [piece("$.a[0].b", number=1), piece("$.a[0].c[0]", number=2), piece("$.a[1]")],
            {"a": [{"b": 1, "c": [2]}, None]},
        ),
    ],
)
def test_values_go_where_their_paths_say(pieces: list[dict[str, Any]], expected: Any) -> None:
    assert arguments(*pieces) == expected


def test_truth_is_a_value() -> None:
    folder = Folder()
    call = FunctionCall("f", partial_args=[PartialArg("$.a", bool_value=True)])
    (part,) = folder.take(Part(function_call=call))
    assert part.function_call == FunctionCall("f", {"a": msgspec.Raw(b"true")})


@pytest.mark.parametrize(
    "path",
    ["", "$", "a", "$[0]", "$.a[1]", "$.a.b[", "$.a..b", "$.a[x]", "$" + ".a" * (MAX_STEPS + 1)],
)
def test_path_that_leads_nowhere_is_a_failure(path: str) -> None:
    with pytest.raises(UpstreamError):
        arguments(piece(path, number=1))


@pytest.mark.parametrize(
    "pieces",
    [
        [piece("$.a", number=1), piece("$.a.b", number=1)],
        [piece("$.a.b", number=1), piece("$.a[0]", number=1)],
        [begun("g")],
        [piece("$.a", string="b" * MAX_OCTETS)],
    ],
    ids=["a number with members", "an object with places", "a call in a call", "too much"],
)
def test_what_fits_nowhere_is_a_failure(pieces: list[dict[str, Any]]) -> None:
    with pytest.raises(UpstreamError):
        arguments(*pieces)


def test_piece_of_no_call_is_a_failure() -> None:
    with pytest.raises(UpstreamError):
        fold(piece("$.a", number=1))


def test_a_text_that_goes_on_is_not_copied_for_each_piece() -> None:
    """Else a text of megabytes in small pieces would cost the square of its length."""
    folder = Folder()
    for part in (begun("f"), piece("$.a", string="x" * 1000)):
        assert [*folder.take(msgspec.json.decode(json.dumps(part), type=Part))] == []
    kept = folder.arguments["a"]
    more = msgspec.json.decode(json.dumps(piece("$.a", string="y")), type=Part)
    assert [*folder.take(more)] == []
    assert folder.arguments["a"] is kept
    (whole,) = folder.end()
    assert whole.function_call is not None
    assert whole.function_call.args == {"a": msgspec.Raw(b'"%by"' % (b"x" * 1000))}


def test_a_path_is_as_long_as_it_may_be() -> None:
    value = arguments(piece("$" + ".a" * MAX_STEPS, number=1))
    for _ in range(MAX_STEPS):
        value = value["a"]
    assert value == 1


@pytest.mark.parametrize("spare", [0, -1])
def test_what_is_kept_of_a_call_is_its_values_and_their_places(spare: int) -> None:
    folder = Folder()
    steps, size = 3, MAX_OCTETS - 3 * VALUE_OCTETS - 2 * VALUE_OCTETS - 5 - spare
    parts = [begun("f"), piece("$.a.b[0]", number=1), piece("$.a.c", string="x" * 5, more=True)]
    for part in parts:
        assert [*folder.take(msgspec.json.decode(json.dumps(part), type=Part))] == []
    assert folder.kept == (steps + 2) * VALUE_OCTETS + 5
    last = Part(function_call=FunctionCall("", partial_args=[PartialArg("$.d", string_value="")]))
    assert last.function_call is not None
    assert last.function_call.partial_args is not None
    last.function_call.partial_args[0].string_value = "x" * (size - VALUE_OCTETS)
    if spare == 0:
        assert len([*folder.take(last)]) == 1
        assert folder.kept == MAX_OCTETS
    else:
        with pytest.raises(UpstreamError):
            list(folder.take(last))


def test_a_call_has_nothing_of_the_one_before() -> None:
    ended: dict[str, Any] = {"functionCall": {}}
    parts = fold(begun("f"), piece("$.a", number=1), ended, begun("g"), piece("$.b", number=2))
    calls = [part.function_call for part in parts if part.function_call is not None]
    assert [call.args for call in calls] == [{"a": msgspec.Raw(b"1")}, {"b": msgspec.Raw(b"2")}]


def test_a_text_goes_on_after_its_folder_was_kept_as_octets() -> None:
    folder = Folder()
    for part in (begun("f"), piece("$.a", string="b", more=True)):
        assert [*folder.take(msgspec.json.decode(json.dumps(part), type=Part))] == []
    kept = msgspec.msgpack.decode(msgspec.msgpack.encode(folder), type=Folder)
    more = piece("$.a", string="c", last=True)
    (whole,) = kept.take(msgspec.json.decode(json.dumps(more), type=Part))
    assert whole.function_call is not None
    assert whole.function_call.args == {"a": msgspec.Raw(b'"bc"')}


@pytest.mark.parametrize(
    ("path", "expected"), [("$.a", {"a": "bc"}), ("$.a.b", {"a": {"b": "bc"}})]
)
def test_a_text_goes_on_where_another_reader_had_begun_it(path: str, expected: Any) -> None:
    folder = Folder()
    for part in (begun("f"), piece(path, string="b", more=True)):
        assert [*folder.take(msgspec.json.decode(json.dumps(part), type=Part))] == []
    folder = msgspec.msgpack.decode(msgspec.msgpack.encode(folder), type=Folder)
    (whole,) = folder.take(
        msgspec.json.decode(json.dumps(piece(path, string="c", last=True)), type=Part)
    )
    assert whole.function_call is not None
    assert json.loads(msgspec.json.encode(whole.function_call.args)) == expected

"""One object, read alike by all; whatever else is refused, with nothing but MalformedMessage."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.strict_json import (
    MAX_DEPTH,
    MAX_DIGITS,
    DuplicateMember,
    LoneSurrogate,
    LongInteger,
)

INTEGERS = st.integers(1 - 10**MAX_DIGITS, 10**MAX_DIGITS - 1)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.booleans())
def test_any_object_reads_back(members: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(members, ensure_ascii=ascii_only)
    assert strict_json.decode_object(text) == strict_json.decode_object(text.encode()) == members
    assert strict_json.decode_members(text.encode(), members.keys()) == members


@pytest.mark.parametrize("digits", [MAX_DIGITS + 1, 4_299, 5_000])
@pytest.mark.parametrize("form", ["%s", "-%s", "[1, %s]"])
def test_long_integer_is_refused(digits: int, form: str) -> None:
    with pytest.raises(LongInteger):
        strict_json.decode(form % ("9" * digits))


@pytest.mark.parametrize("number", [10**MAX_DIGITS - 1, 1 - 10**MAX_DIGITS, 2**63 - 1, -(2**63)])
def test_integer_of_64_bits_is_taken(number: int) -> None:
    assert strict_json.decode(str(number)) == number


def nested(depth: int, inner: str = "") -> str:
    return "[" * depth + inner + "]" * depth


@pytest.mark.parametrize("depth", [1, MAX_DEPTH - 1])
def test_what_nests_can_be_written_again(depth: int) -> None:
    many = "{}, " * 999
    value = strict_json.decode_object(f'{{"a": {nested(depth)}, "b": [{many}1]}}')
    assert json.loads(json.dumps(value)) == value


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, 900, 100_000])
def test_what_nests_deeper_is_refused(depth: int) -> None:
    for text in (f'{{"a": {nested(depth)}}}', '{"a": ' * depth + "{}" + "}" * depth):
        for data in (text, text.encode()):
            with pytest.raises(MalformedMessage):
                strict_json.decode_object(data)


def test_brackets_in_texts_are_no_depth() -> None:
    text = "[{" * MAX_DEPTH
    assert strict_json.decode_object(json.dumps({"a": [text]})) == {"a": [text]}


def test_a_text_with_a_pair_of_surrogates_may_stand_at_any_depth() -> None:
    """What is just not too deep to be read must not be too deep to be looked through."""
    for depth in range(900, 1000):
        try:
            strict_json.decode(nested(depth, r'"\ud83d\ude00"'))
        except MalformedMessage:
            continue


WRONG = {
    "empty": b"",
    "list": b"[]",
    "text": b'"text"',
    "null": b"null",
    "unfinished": b"{",
    "trailing": b"{} {}",
    "byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": json.dumps({}).encode("utf-16"),
    "not a number": b'{"a": NaN}',
    "infinite": b'{"a": -Infinity}',
    "beyond floats": b'{"a": 1e999}',
    "endless integer": b'{"a": ' + b"9" * 5000 + b"}",
    "control character": b'{"a": "\n"}',
    "deep": b'{"a": ' * 100_000,
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_is_no_object_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        strict_json.decode_object(data)


@given(st.binary() | st.text(alphabet='{}[]":,\\u0a ').map(str.encode))
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    try:
        strict_json.decode_object(data)
    except MalformedMessage:
        return
    assert isinstance(json.loads(data), dict)


def test_of_many_members_the_one_that_comes_twice_is_named() -> None:
    with pytest.raises(DuplicateMember) as refused:
        strict_json.decode_object(b'{"a": 1, "b": 2, "c": 3, "b": 4}')
    assert refused.value.name == "b"


@pytest.mark.parametrize("text", ['{"a": 1, "b": 2, "a": 1}', '{"b": {"a": 1, "\\u0061": 2}}'])
def test_a_member_that_comes_twice_is_named(text: str) -> None:
    with pytest.raises(DuplicateMember) as refused:
        strict_json.decode_object(text)
    assert refused.value.name == "a"


@pytest.mark.parametrize("text", [r'"\ud800"', r'{"\uDfff": 1}', r'["\ud800\ud800"]'])
def test_half_a_character_is_refused(text: str) -> None:
    with pytest.raises(LoneSurrogate):
        strict_json.decode(text)


def test_both_halves_are_a_character() -> None:
    assert strict_json.decode(r'"\ud83d\ude00 \\ud800"') == "😀 \\ud800"


@pytest.mark.parametrize("names", [{"a"}, {"a", "b", "c"}, {"a", "c"}, set()])
def test_members_are_exactly_those(names: set[str]) -> None:
    with pytest.raises(MalformedMessage):
        strict_json.decode_members(b'{"a": 1, "b": 2}', names)


@given(st.binary())
def test_base64_reads_back(octets: bytes) -> None:
    assert strict_json.decode_base64(base64.b64encode(octets).decode()) == octets


@pytest.mark.parametrize("value", [None, 1, b"AAAA", "AAA", "AA\nAA", "AA==AA==", "AA-_", "ÄÄÄÄ"])
def test_what_is_no_base64_is_malformed(value: object) -> None:
    with pytest.raises(MalformedMessage):
        strict_json.decode_base64(value)


def test_a_text_of_ascii() -> None:
    assert strict_json.decode_ascii("text") == b"text"
    for value in ("É", None, ["text"]):
        with pytest.raises(MalformedMessage):
            strict_json.decode_ascii(value)

"""JSON that is refused: broken, deep, endless, said twice."""

import json
import re
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import (
    MAX_DEPTH,
    MAX_VALUES,
    _outside_strings,
    parse_object,
    printable,
)
from enclave_server.http.limits import Limits
from tests.support.chat_service import HELLO, ask_nowhere, chat

BROKEN_JSON = {
    "empty": b"",
    "text": b"Hello",
    "truncated": b'{"model":"m"',
    "trailing": json.dumps(chat()).encode() + b"{}",
    "not a number": b'{"model":"m","temperature":NaN}',
    "infinite": b'{"model":"m","temperature":1e999}',
    "not UTF-8": b'{"model":"\xff"}',
    "UTF-16": json.dumps(chat()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
    "endless integer": b'{"model":' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "closed too often": b"]" * 100_000,
    "many values": b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
    "many empty lists": b"[" + b"[]," * MAX_VALUES + b"[]]",
    "unterminated string": b'{"model":"' + b'\\"' * 100_000,
    "lone surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "surrogate in an unknown name": b'{"\\ud800":1}',
}


@pytest.mark.parametrize("unit", [b"]", b"}", b'"', b'"",', b"[]", b"\\"])
def test_refusing_costs_little_memory(unit: bytes) -> None:
    data = b"{" + unit * (Limits().body_bytes // len(unit))
    tracemalloc.start()
    try:
        with pytest.raises(ChatError):
            parse_object(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", BROKEN_JSON)
def test_broken_json_is_refused(case: str) -> None:
    started = time.process_time()
    answer, error = ask_nowhere(BROKEN_JSON[case])
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"model":"m"}',
        b'{"messages":[{"role":"user","content":"x"}],"model":"m","mod\\u0065l":"n"}',
        b'{"messages":[],"model":"m","model":"m"}',
    ],
)
def test_duplicate_field_is_refused_by_name(body: bytes) -> None:
    answer, error = ask_nowhere(body)
    assert (answer.status, error["param"]) == (400, "model")


def test_duplicate_field_within_a_message_is_refused() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}'
    answer, error = ask_nowhere(body)
    assert (answer.status, error["param"]) == (400, "content")


@given(st.binary() | st.text().map(str.encode), st.integers(0, 60))
def test_any_bytes_are_refused(data: bytes, at: int) -> None:
    whole = json.dumps({"model": "other", "messages": HELLO}).encode()
    for body in (data, whole[:at] + data + whole[at:], whole[:at]):
        answer, _ = ask_nowhere(body)
        assert answer.status in (400, 404)


# What is outside strings, as a grammar finds it: slower, and in memory for every string.
STRING = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?', re.DOTALL)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text(alphabet='"\\ab[]{},:\n\u00e9'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='"\\[{'), inner),
)


@given(JSON_VALUES, st.booleans(), st.integers(0))
def test_splitting_finds_what_is_outside_strings(value: Any, ascii_only: bool, cut: int) -> None:
    whole = json.dumps(value, ensure_ascii=ascii_only).encode()
    for data in (whole, whole[: cut % (len(whole) + 1)]):
        assert _outside_strings(data) == STRING.sub(b"", data)


@given(st.text(alphabet='"\\[]{},1').map(str.encode))
def test_before_the_first_escape_outside_strings_splitting_finds_all(data: bytes) -> None:
    """A parser stops there: what comes after costs nothing."""
    outside = STRING.sub(b"", data).partition(b"\\")[0]
    assert _outside_strings(data).startswith(outside)


@pytest.mark.parametrize("digits", [20, 4_299])
def test_long_integers_are_refused_and_their_field_is_named(digits: int) -> None:
    number = b"9" * digits
    for body, param in (
        (b'{"model":"m","seed": -%b}' % number, "seed"),
        (b'{"model":"m","messages":[%b]}' % number, None),
    ):
        answer, error = ask_nowhere(body)
        assert (answer.status, error["param"]) == (400, param)
        assert "more than 19 digits" in error["message"]


def refusal(data: bytes) -> str:
    with pytest.raises(ChatError) as caught:
        parse_object(data)
    return caught.value.message


def test_as_many_values_as_are_allowed_and_no_more() -> None:
    numbers = b",".join([b"1"] * (MAX_VALUES - 1))
    values = parse_object(b'{"a":[%b]}' % numbers)["a"]
    assert len(values) == MAX_VALUES - 1  # the list is a value too
    assert refusal(b'{"a":[1,%b]}' % numbers) == "The body has too many values."


def test_as_many_strings_as_there_may_be_values_and_names() -> None:
    members = b",".join(b'"%x":""' % number for number in range(MAX_VALUES))
    assert len(parse_object(b"{%b}" % members)) == MAX_VALUES
    quotes = 4 * MAX_VALUES
    assert refusal(b'"' * quotes) == "The body is not valid JSON."
    assert refusal(b'"' * (quotes + 1)) == "The body has too many values."


def test_as_deep_as_is_allowed_and_no_deeper() -> None:
    deepest = b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1)
    value = parse_object(b'{"a":%b}' % deepest)["a"]
    for _ in range(MAX_DEPTH - 2):
        (value,) = value
    assert value == []
    assert "more than 64 deep" in refusal(b'{"a":[%b]}' % deepest)


def test_what_is_shown_of_a_text_is_its_beginning() -> None:
    assert printable("x" * 64) == "x" * 64
    assert printable("x" * 65) == "x" * 64
    assert printable("abc\ud800def", 5) == "abc?d"

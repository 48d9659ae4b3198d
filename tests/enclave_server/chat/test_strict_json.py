"""JSON that is refused: broken, deep, endless, said twice."""

import json
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import MAX_VALUES, parse_object
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

"""Events split anywhere, and answers put together from recorded streams."""

import json
from typing import Any

import pytest

from oblivious_client import events
from oblivious_client.answers import (
    StreamedAnswer,
    outputs_of,
    parse_object,
    raise_for_error,
    text_of,
)
from oblivious_client.errors import (
    AnswerTruncated,
    AnswerUnreadable,
    ServiceError,
)
from protocol.gateway import problem
from tests.support.vector_files import load

STREAMS = load("llm-sse-streams.json")
RECORDED = [sample for sample in STREAMS["samples"] if sample["api"] == "openai-chat"]


def read(data: bytes, size: int) -> list[bytes]:
    reader = events.EventReader()
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    return [event for piece in pieces for event in reader.feed(piece)]


CASES = [
    (b"data: a\n\n", [b"a"]),
    (b"data:a\r\n\r\ndata: b\r\r", [b"a", b"b"]),
    (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    (b": padding\n\n:\n\ndata: a\n\n", [b"a"]),
    (b"data: a\ndata: b\n\n", [b"a\nb"]),
    (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
    (b"data\n\ndata: \n\n", []),
    (b"data:  two\n\n", [b" two"]),
    (b"data: unfinished\n", []),
    ("data: zwölf\n\n".encode(), ["zwölf".encode()]),
]


@pytest.mark.parametrize(("data", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events(data: bytes, expected: list[bytes], size: int) -> None:
    if data.endswith(b"\r"):
        data += b": the line end is certain once another byte has come\n"
    assert read(data, size) == expected


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVENT_LIMIT", 100)
    reader = events.EventReader()
    for _ in range(80):
        reader.feed(b"data: x\n")
    with pytest.raises(AnswerUnreadable):
        reader.feed(b"data: " + bytes(20))


def test_encoded_events_read_back() -> None:
    for data in (b"a", b"a\nb", b'{"x": 1}'):
        assert read(events.encode(data), 1) == [data]


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_the_sentinel_is_kept_until_the_end(size: int) -> None:
    said = b'data: {"a": "data: [DONE]"}\n\n'
    for sentinel in (b"data: [DONE]\n\n", b"data:[DONE]\r\r"):
        for data in (said + sentinel + b": padding\n\n", sentinel):
            keeper = events.EndKeeper()
            pieces = (data[start : start + size] for start in range(0, len(data), size))
            passed = b"".join(keeper.pass_on(piece) for piece in pieces)
            assert events.DONE not in passed.removeprefix(said)
            assert passed + keeper.release() == data
            assert keeper.release() == b""


@pytest.mark.parametrize("sample", RECORDED, ids=[sample["id"][:60] for sample in RECORDED])
@pytest.mark.parametrize("size", [1, 777, 100_000])
def test_recorded_streams_become_whole_answers(sample: dict[str, Any], size: int) -> None:
    streamed = StreamedAnswer()
    data = sample["sse_text"].encode() + b"\n\n"
    for start in range(0, len(data), size):
        streamed.feed(data[start : start + size])
    body = streamed.finish()
    expected = sample["summary"]["choices"]["0"]
    (message,) = outputs_of(body)
    assert text_of(message) == expected["text"]
    assert body["choices"][0]["finish_reason"] == expected["finish"]
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", ())]
    assert calls == expected["tools"]


def stream(*chunks: object) -> bytes:
    return b"".join(events.encode(json.dumps(chunk).encode()) for chunk in chunks)


def test_a_stream_without_its_end_is_truncated() -> None:
    streamed = StreamedAnswer()
    streamed.feed(stream({"choices": [{"index": 0, "delta": {"content": "a"}}]}))
    with pytest.raises(AnswerTruncated):
        streamed.finish()


def test_several_choices_are_kept_apart() -> None:
    streamed = StreamedAnswer()
    for index, text in ((1, "b"), (0, "a"), (1, "B")):
        delta = {"index": index, "delta": {"content": text}}
        streamed.feed(stream({"choices": [delta]}))
    streamed.feed(b"data: [DONE]\n\n")
    assert [text_of(message) for message in outputs_of(streamed.finish())] == ["a", "bB"]


def test_an_error_event_is_the_services() -> None:
    with pytest.raises(ServiceError, match="too slow"):
        StreamedAnswer().feed(stream({"error": {"message": "too slow"}}))


@pytest.mark.parametrize(
    "chunk",
    [
        [],
        {"choices": [1]},
        {"choices": 1},
        {"choices": [{"index": "x"}]},
        {"choices": [{"index": 0, "delta": 1}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [1]}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": 1}}]}}]},
    ],
)
def test_a_stream_of_nonsense_is_unreadable(chunk: object) -> None:
    with pytest.raises(AnswerUnreadable):
        StreamedAnswer().feed(stream(chunk))


@pytest.mark.parametrize("data", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_unreadable(data: bytes) -> None:
    with pytest.raises(AnswerUnreadable):
        parse_object(data)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"choices": 1},
        {"choices": [1]},
        {"choices": [{"message": 1}]},
        {"choices": [{"index": "x"}]},
    ],
)
def test_answers_without_messages_are_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(AnswerUnreadable):
        outputs_of(body)


@pytest.mark.parametrize(
    ("status", "words"), [(400, "malformed"), (409, "arrived before"), (503, "no room")]
)
def test_a_problem_is_put_into_words(status: int, words: str) -> None:
    with pytest.raises(ServiceError, match=words) as caught:
        raise_for_error(status, problem(status).content)
    assert caught.value.advice
    with pytest.raises(ServiceError, match="its own"):
        raise_for_error(status, b'{"error": {"message": "its own"}}')


def test_errors_without_a_reason() -> None:
    for body in (b"", b"{}", b'{"error": 1}'):
        with pytest.raises(ServiceError, match="no reason given") as caught:
            raise_for_error(500, body)
        assert caught.value.status == 500

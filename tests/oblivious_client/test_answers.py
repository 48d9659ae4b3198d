"""Answers put together from recorded streams, and what is no answer."""

import json
from typing import Any

import pytest

from oblivious_client import answers
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
from protocol.event_stream import encode_event
from protocol.gateway import problem
from protocol.registry import DATE_PROBLEM
from tests.support.vector_files import load

STREAMS = load("llm-sse-streams.json")
RECORDED = [sample for sample in STREAMS["samples"] if sample["api"] == "openai-chat"]


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MAX_EVENT_OCTETS", 100)
    streamed = StreamedAnswer()
    streamed.feed(b"data: x\n" * 10)
    with pytest.raises(AnswerUnreadable, match="larger than any honest one"):
        streamed.feed(b"data: " + bytes(30) + b"\n")


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
    return b"".join(encode_event(json.dumps(chunk).encode()) for chunk in chunks)


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


def test_continuations_are_strung_together() -> None:
    streamed = StreamedAnswer()
    choices: list[dict[str, Any]] = [
        {"index": 0, "text": "a"},
        {"index": 1, "text": None},
        {"index": 0, "text": "b", "finish_reason": None},
        {"index": 0, "text": "", "finish_reason": "length"},
        {"text": "c"},  # of the first, where no other is named
    ]
    for choice in choices:
        streamed.feed(stream({"id": "x", "choices": [choice]}))
    streamed.feed(b"data: [DONE]\n\ndata: {}\n\n")
    assert streamed.finish() == {
        "id": "x",
        "choices": [
            {"index": 0, "text": "abc", "finish_reason": "length"},
            {"index": 1, "text": ""},
        ],
    }


def test_fragments_of_calls_are_put_in_order_and_joined() -> None:
    streamed = StreamedAnswer()
    fragments: list[dict[str, Any]] = [
        {"index": 2, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}},
        {"index": 1, "id": "a", "function": {"name": "f"}},
        {"index": 2, "function": {"name": None, "arguments": "}"}},
        {"index": 1, "id": None},
    ]
    for fragment in fragments:
        streamed.feed(stream({"choices": [{"index": 0, "delta": {"tool_calls": [fragment]}}]}))
    streamed.feed(b"data: [DONE]\n\n")
    (message,) = outputs_of(streamed.finish())
    assert message["tool_calls"] == [
        {"id": "a", "function": {"name": "f", "arguments": ""}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_an_empty_text_is_no_tool_call() -> None:
    streamed = StreamedAnswer()
    streamed.feed(stream({"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": ""}}]}))
    streamed.feed(b"data: [DONE]\n\n")
    assert outputs_of(streamed.finish()) == [{"role": "assistant", "content": "a"}]


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
        {"choices": [{"index": 0, "delta": {"tool_calls": "a call"}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [{"function": {"arguments": 1}}]}}]},
    ],
)
def test_a_stream_of_nonsense_is_unreadable(chunk: object) -> None:
    with pytest.raises(AnswerUnreadable):
        StreamedAnswer().feed(stream(chunk))


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"\xff", b"[" * 100_000, b'{"a": 1, "a": 2}', b'{"a": NaN}']
)
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


@pytest.mark.parametrize(
    ("kind", "code", "advice"),
    [
        ("server_error", "upstream_failed", "ask again shortly"),
        ("server_error", None, "ask again shortly"),
        ("rate_limit_error", "rate_limit_exceeded", "ask again shortly"),
        ("server_error", "key_not_provisioned", ""),  # the text says who has to act
        ("server_error", "upstream_refused", ""),
        ("invalid_request_error", None, ""),
    ],
)
def test_what_passes_is_told_from_what_does_not(kind: str, code: str | None, advice: str) -> None:
    error = {"message": "The model's own.", "type": kind, "code": code}
    with pytest.raises(ServiceError, match=r"The model's own\.$") as caught:
        raise_for_error(502, json.dumps({"error": error}).encode())
    streamed = StreamedAnswer()
    with pytest.raises(ServiceError, match=r"The model's own\.$") as in_stream:
        streamed.feed(stream({"error": error}))
    for failure in (caught.value, in_stream.value):
        assert failure.advice.endswith(advice)
        assert bool(failure.advice) == bool(advice)


def test_errors_without_a_reason() -> None:
    for body in (b"", b"{}", b'{"error": 1}'):
        with pytest.raises(ServiceError, match="no reason given") as caught:
            raise_for_error(500, body)
        assert caught.value.status == 500


def test_states_and_reasoning_of_a_stream_are_kept() -> None:
    state = {"oblivious": {"state": "AA"}}
    function = {"name": "f", "arguments": "{}"}
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "H"},
        {"reasoning_content": "m"},
        {"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": function}]},
        {"tool_calls": [{"index": 0, "extra_content": state}]},
        {"extra_content": state},
    ]
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    answer = StreamedAnswer()
    answer.feed(data + b"data: [DONE]\n\n")
    (choice,) = answer.finish()["choices"]
    assert choice["message"]["reasoning_content"] == "Hm"
    assert choice["message"]["extra_content"] == state
    (call,) = choice["message"]["tool_calls"]
    assert call == {"id": "c", "type": "function", "function": function, "extra_content": state}


@pytest.mark.parametrize("kind", [answers.Answer, answers.Embeddings])
def test_an_answer_that_is_printed_shows_no_word(kind: Any) -> None:
    shown = repr(kind(b"asked", {"said": "answered"}, "evidence", "signature"))
    assert shown == f"{kind.__name__}(signed='signature')"


def test_the_text_of_an_answer_is_that_of_its_first_choice() -> None:
    choices = [{"index": 1, "message": {"content": "b"}}, {"message": {"content": "a"}}]
    unneeded: Any = None
    answer = answers.Answer(b"", {"choices": choices}, unneeded, unneeded)
    assert answer.text == "a"
    assert text_of({"content": None}) == ""
    assert text_of({"text": "c", "content": "d"}) == "c"


def test_calls_that_are_not_numbered_are_calls_of_their_own() -> None:
    streamed = StreamedAnswer()
    for name in ("f", "g"):
        call = {"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}}
        delta = {"role": "assistant", "tool_calls": [call]}
        streamed.feed(stream({"choices": [{"delta": delta, "finish_reason": "tool_calls"}]}))
    streamed.feed(b"data: [DONE]\n\n")
    (choice,) = streamed.finish()["choices"]
    assert (choice["index"], choice["finish_reason"]) == (0, "tool_calls")
    assert choice["message"]["role"] == "assistant"
    assert [call["id"] for call in choice["message"]["tool_calls"]] == ["f", "g"]


def test_a_clock_that_is_wrong_is_named() -> None:
    data = json.dumps({"type": DATE_PROBLEM}).encode()
    with pytest.raises(ServiceError, match="clock is too far") as caught:
        raise_for_error(400, data)
    assert (caught.value.status, caught.value.advice) == (400, "set the clock and ask again")
    raise_for_error(200, data)


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        ({"message": "m", "type": "t", "code": "c"}, "t", "c"),
        ({"message": "m", "code": 7}, None, None),
    ],
)
def test_an_errors_kind_and_code_are_told_if_they_are_words(
    error: dict[str, Any], kind: str | None, code: str | None
) -> None:
    with pytest.raises(ServiceError) as caught:
        raise_for_error(429, json.dumps({"error": error}).encode())
    assert (caught.value.status, caught.value.kind, caught.value.error_code) == (429, kind, code)
    with pytest.raises(ServiceError) as caught:
        StreamedAnswer().feed(stream({"error": error}))
    assert (caught.value.status, caught.value.kind, caught.value.error_code) == (500, kind, code)

"""How OpenAI's streams are written: the signature last, with the end of a choice."""

import json
from typing import Any

from enclave_server.chat.conversation import ChoiceDelta, Delta, PartState, State, Usage
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.completions import Completions
from enclave_server.chat.surfaces.openai import OpenAIStream
from enclave_server.chat.surfaces.surface import Identity
from protocol.event_stream import EventParser

IDENTITY = Identity("x-1", 5, "m")
SIGNATURE = {"tee_timestamp": 1}


def stream() -> OpenAIStream:
    return ChatCompletions().stream(IDENTITY)


def word(text: str) -> list[ChoiceDelta]:
    return [ChoiceDelta(0, Delta(content=text))]


def end(index: int = 0) -> list[ChoiceDelta]:
    return [ChoiceDelta(index, finish_reason="stop")]


def objects(text: bytes) -> list[dict[str, Any]]:
    events = [event.data for event in EventParser().feed(text)]
    return [json.loads(data) for data in events if data != "[DONE]"]


def test_words_are_events_at_once() -> None:
    (written,) = objects(stream().write(word("a")))
    assert written == {
        "id": "x-1",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": [
            {"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}
        ],
    }


def test_nothing_is_told_of_a_thought_that_ends_or_of_a_prompt_s_states() -> None:
    state = State("d", b"s")
    assert stream().end_thought(state) == b""
    assert stream().kept == 0
    assert Completions().stream(IDENTITY).keep([PartState(0, state)]) == b""


def test_a_state_is_an_event_of_its_own() -> None:
    writer = stream()
    (told,) = objects(writer.keep([PartState(2, State("d", b"s"))]))
    assert (told["id"], told["model"]) == ("x-1", "m")
    assert [choice["index"] for choice in told["choices"]] == [2]


def test_the_last_end_is_held_back_and_signed() -> None:
    writer = stream()
    assert writer.write(end(0)) == b""
    (first,) = objects(writer.write(end(1)))
    assert first["choices"][0]["index"] == 0
    last = writer.finish(None, SIGNATURE)
    (signed,) = objects(last)
    assert (signed["choices"][0]["index"], signed["tee_timestamp"]) == (1, 1)
    assert last.endswith(b"data: [DONE]\n\n")


def test_what_follows_an_end_comes_after_it() -> None:
    writer = stream()
    writer.write(end())
    first, second = objects(writer.write(word("b")))
    assert first["choices"][0]["finish_reason"] == "stop"
    assert second["choices"][0]["delta"] == {"content": "b"}


def test_the_count_of_tokens_is_the_signed_event_if_it_is_told() -> None:
    writer = stream()
    writer.write(end())
    first, second = objects(writer.finish(Usage(1, 2, 3), SIGNATURE))
    assert "tee_timestamp" not in first
    assert (second["choices"], second["tee_timestamp"]) == ([], 1)
    assert second["usage"]["total_tokens"] == 3


def test_a_failure_is_an_error_without_done() -> None:
    text = stream().fail(UpstreamError(Failure.SLOW))
    assert objects(text)[0]["error"]["code"] == "upstream_timeout"
    assert b"[DONE]" not in text


def test_continuations_are_written_as_text() -> None:
    (written,) = objects(Completions().stream(IDENTITY).write(word("a")))
    assert written["object"] == "text_completion"
    assert written["choices"] == [
        {"index": 0, "text": "a", "logprobs": None, "finish_reason": None}
    ]

"""Readers that hand over: each event is read by another reader, which knows but the state."""

import json
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.dialect import StreamReader
from enclave_server.chat.dialects.handing import pack, restore, save, unpack
from enclave_server.chat.dialects.openai_chat.calls import Numbering
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import UpstreamError
from protocol import event_stream
from tests.support import anthropic_messages, converse, gemini_server, responses_server
from tests.support.handing import Handing
from tests.support.meanings import meaning_of_stream

SAMPLES = json.loads((Path(__file__).parents[3] / "vectors/llm-sse-streams.json").read_text())
RECORDED = [each for each in SAMPLES["samples"] if each["api"] == "openai-chat"]

THOUGHT = {"type": "thinking", "thinking": "Hm, rain.", "signature": "c2ln"}
USED = {"type": "tool_use", "id": "t", "name": "f", "input": {"a": [1, "b"]}}


def chat(*deltas: dict[str, Any]) -> bytes:
    events = [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]
    return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in events)


DETAIL = {"type": "reasoning.text", "index": 0}
STREAMS: dict[str, tuple[str, bytes]] = {
    **{each["id"]: ("openai-chat", each["sse_text"].encode()) for each in RECORDED},
    "details": (
        "openai-chat",
        chat(
            {"reasoning": "H", "reasoning_details": [{**DETAIL, "text": "H"}]},
            {"reasoning": "m", "reasoning_details": [{**DETAIL, "text": "m", "signature": "s"}]},
            {"tool_calls": [{"index": 5, "id": "c", "function": {"name": "f", "arguments": "{"}}]},
            {"tool_calls": [{"index": 5, "function": {"arguments": "}"}}]},
        )
        + b"data: [DONE]\n\n",
    ),
    "anthropic": (
        "anthropic",
        anthropic_messages.sse(
            anthropic_messages.answered(
                [THOUGHT, {"type": "text", "text": "Wet."}, USED], "tool_use"
            )
        ),
    ),
    "converse": (
        "bedrock",
        converse.streamed(
            [
                {"text": "Wet."},
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}},
            ],
            "tool_use",
        ),
    ),
    "gemini": (
        "gemini",
        gemini_server.encode(
            gemini_server.events_of(
                gemini_server.response(
                    gemini_server.candidate(
                        gemini_server.thought("Hm."),
                        gemini_server.text("Wet.", thoughtSignature="c2ln"),
                        gemini_server.call("f", {"a": 1}),
                    )
                )
            )
        ),
    ),
    "responses": (
        "openai-responses",
        responses_server.encode(
            responses_server.events_of(
                responses_server.response(
                    responses_server.reasoning("Hm.", encrypted_content="x"),
                    responses_server.message(responses_server.text("Wet.")),
                    responses_server.call("f", '{"a":1}'),
                )
            )
        ),
    ),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_state_is_all_that_a_reader_knows(case: str) -> None:
    dialect, data = STREAMS[case]

    def make() -> StreamReader:
        return find_dialect(dialect).stream(Conversation)

    handing = Handing(make)
    # The end of chat completions is small in any case.
    data = data.removesuffix(b"data: [DONE]\n\n")
    told = meaning_of_stream(handing, data)
    assert handing.handed > 2
    assert told == meaning_of_stream(make(), data)


@pytest.mark.parametrize("case", STREAMS)
def test_only_an_event_above_the_size_is_handed_over(case: str) -> None:
    dialect, data = STREAMS[case]
    reader = find_dialect(dialect).stream(Conversation)
    assert not any(event.large for event in reader.feed(data))


def test_an_event_is_handed_over_as_it_came() -> None:
    for event in (
        event_stream.Event("a\nb\n\N{GRINNING FACE}", "error"),
        event_stream.Event("", "message"),
    ):
        assert unpack(pack(event)) == event


def test_a_number_that_nobody_counts_to_is_a_fault() -> None:
    with pytest.raises(UpstreamError):
        save(Numbering({1 << 70: 0}))
    assert restore(save(Numbering({-1: 0}, [None, "c"])), Numbering) == Numbering(
        {-1: 0}, [None, "c"]
    )

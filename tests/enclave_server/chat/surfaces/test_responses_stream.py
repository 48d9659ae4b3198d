"""Streamed answers of the Responses API: OpenAI's types read each event, our dialect the whole."""

import json
from typing import Any

import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from enclave_server.chat.conversation import (
    CallDelta,
    ChoiceDelta,
    Delta,
    FunctionDelta,
    Logprobs,
    PartState,
    State,
    TokenLogprob,
    Usage,
)
from enclave_server.chat.dialects.openai_responses.answers import read_answer
from enclave_server.chat.dialects.openai_responses.streams import EventReader
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.surfaces.responses_states import unseal
from enclave_server.chat.surfaces.responses_stream import ResponsesStream
from enclave_server.chat.surfaces.surface import Identity
from protocol.event_stream import EventParser
from tests.support.meanings import meaning_of, meaning_of_stream

Json = dict[str, Any]

_EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

IDENTITY = Identity("resp_abc", 7, "m", "upstream")
USAGE = Usage(3, 4, 7)
SIGNED: dict[str, str | int] = {"tee_signature": "s", "tee_timestamp": 7}


def part(**delta: Any) -> ChoiceDelta:
    return ChoiceDelta(0, Delta(**delta))


def begun(index: int, name: str, arguments: str = "") -> ChoiceDelta:
    function = FunctionDelta(name, arguments)
    return part(tool_calls=[CallDelta(index, f"c{index}", "function", function)])


def more(index: int, arguments: str) -> ChoiceDelta:
    return part(tool_calls=[CallDelta(index, function=FunctionDelta(arguments=arguments))])


LIKELY = Logprobs(content=[TokenLogprob("Wet", -0.5, [87])])

SAID: dict[str, tuple[list[ChoiceDelta], str]] = {
    "text": ([part(role="assistant"), part(content="We"), part(content="t.")], "stop"),
    "nothing": ([], "stop"),
    "thoughts": ([part(reasoning_content="Rain, "), part(content="Wet.")], "stop"),
    "thoughts and text at once": ([part(reasoning_content="Rain", content="Wet.")], "stop"),
    "a refusal": ([part(content="Hm. "), part(refusal="N"), part(refusal="o.")], "stop"),
    "calls": ([begun(0, "f", '{"a":1}'), begun(1, "g"), more(1, "{}")], "tool_calls"),
    "calls in turns": (
        [begun(0, "f"), begun(1, "g"), more(0, '{"a"'), more(1, "{}"), more(0, ":1}")],
        "tool_calls",
    ),
    "text around a call": (
        [part(content="A"), begun(0, "f", "{}"), part(content="B")],
        "tool_calls",
    ),
    "likelihoods": ([ChoiceDelta(0, Delta(content="Wet"), LIKELY)], "stop"),
    "a limit": ([part(content="We")], "length"),
    "a filter": ([part(content="We")], "content_filter"),
}


def written(parts: list[ChoiceDelta], reason: str) -> bytes:
    stream = ResponsesStream(IDENTITY)
    said = b"".join(stream.write([each]) for each in parts)
    said += stream.write([ChoiceDelta(0, finish_reason=reason)])
    return said + stream.finish(USAGE, SIGNED)


def events_in(data: bytes) -> list[Json]:
    events = EventParser().feed(data)
    bodies: list[Json] = [json.loads(event.data) for event in events]
    for event, body in zip(events, bodies, strict=True):
        assert event.type == body["type"]
        _EVENTS.validate_python(body)
    assert [body["sequence_number"] for body in bodies] == [*range(len(bodies))]
    return bodies


@pytest.mark.parametrize("case", SAID)
def test_events_say_what_the_last_one_holds(case: str) -> None:
    data = written(*SAID[case])
    *events, last = events_in(data)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    response = last["response"]
    assert last["type"] == f"response.{response['status']}"
    assert SIGNED.items() <= response.items()
    told = meaning_of_stream(EventReader(), data)
    assert told == meaning_of(read_answer(json.dumps(response).encode()))
    assert told["choices"][0]["finish"] == SAID[case][1]
    done = {e["output_index"]: e["item"] for e in events if e["type"].endswith("item.done")}
    assert [done[index] for index in sorted(done)] == response["output"]


def test_order_of_events_of_a_message_and_a_call() -> None:
    data = written([part(content="We"), part(content="t."), begun(0, "f"), more(0, "{}")], "stop")
    assert [event["type"].removeprefix("response.") for event in events_in(data)] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]


def test_states_are_items_of_reasoning() -> None:
    stream = ResponsesStream(IDENTITY)
    data = stream.write([part(content="Wet.")])
    data += stream.keep([PartState(0, State("d", b"v")), PartState(0, State("d", b"w"), 0)])
    *_, last = events_in(data + stream.finish(USAGE, SIGNED))
    message, *kept = last["response"]["output"]
    assert message["content"][0]["text"] == "Wet."
    sealed = [unseal(item["encrypted_content"]) for item in kept]
    assert [(call, state.value) for call, state in sealed] == [(None, b"v"), (0, b"w")]


def test_what_is_kept_of_states_grows_with_them() -> None:
    kept = []
    for size in (1, 3_001):
        stream = ResponsesStream(IDENTITY)
        stream.keep([PartState(0, State("d", bytes(size)))])
        kept.append(stream.kept)
    assert kept[1] - kept[0] >= 3_000


@pytest.mark.parametrize("says", ["content", "reasoning_content", "arguments"])
def test_what_escapes_take_beside_the_texts_is_counted(says: str) -> None:
    kept = []
    for size in (1, 3_001):
        stream = ResponsesStream(IDENTITY)
        said = '"' * size
        if says == "arguments":
            stream.write([begun(0, "f"), more(0, said)])
        else:
            stream.write([part(**{says: said})])
        kept.append(stream.kept)
    assert kept[1] - kept[0] == 3_000


def test_failure_ends_it_with_what_had_come() -> None:
    stream = ResponsesStream(IDENTITY)
    data = stream.write([part(reasoning_content="Hm")]) + stream.write([part(content="We")])
    *_, last = [
        json.loads(e.data)
        for e in EventParser().feed(data + stream.fail(UpstreamError(Failure.BUSY)))
    ]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "overloaded"
    assert "tee_signature" not in last["response"]
    with pytest.raises(UpstreamError):
        meaning_of_stream(
            EventReader(), data + ResponsesStream(IDENTITY).fail(UpstreamError(Failure.BUSY))
        )


def test_likelihoods_are_told_with_their_text_and_at_its_end() -> None:
    events = events_in(written(*SAID["likelihoods"]))
    told = {e["type"]: e["logprobs"] for e in events if "logprobs" in e}
    assert told.keys() == {"response.output_text.delta", "response.output_text.done"}
    assert all(tokens[0]["token"] == "Wet" for tokens in told.values())


def test_every_item_has_one_part() -> None:
    said = [part(reasoning_content="Rain, "), part(content="Wet."), part(refusal="No.")]
    numbers = [
        event[name]
        for event in events_in(written(said, "stop"))
        for name in ("content_index", "summary_index")
        if name in event
    ]
    assert len(numbers) > 9
    assert set(numbers) == {0}

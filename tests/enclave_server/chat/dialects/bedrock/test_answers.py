"""Answers of Converse: whole, and streamed in frames that are split anywhere."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.conversation import END, Answer, Event, Usage
from enclave_server.chat.dialects.bedrock.answers import ConverseEvents, Tokens, read_answer
from enclave_server.chat.dialects.blocks import gather
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.thoughts import CALL as CALLED
from enclave_server.chat.thoughts import Hidden, Thought, decode_pieces
from tests.support.amazon_frames import event, failure, frame
from tests.support.anthropic_messages import read
from tests.support.converse import (
    CALL,
    CONTENTS,
    HIDDEN,
    OTHER_CALL,
    TEXT,
    THOUGHT,
    begin,
    block_frames,
    end,
    streamed,
    whole,
)
from tests.support.handing import check_handing, size_of_frames
from tests.support.kept import kept_of
from tests.support.numbers import choices_in

SAID, WHY = TEXT["text"], "It is wet."
CALLS = [("tooluse_1", "rain", '{"place":"Rome","hours":[1.5,2]}'), ("tooluse_2", "now", "{}")]

Meaning = tuple[str | None, str | None, list[tuple[str, str, str]], str]

MEANINGS: dict[str, Meaning] = {
    "text": (SAID, None, [], "stop"),
    "a stop": (SAID, None, [], "stop"),
    "a limit": (SAID, None, [], "length"),
    "the end of the context": (SAID, None, [], "length"),
    "a guardrail": (SAID, None, [], "content_filter"),
    "a filter": ("", None, [], "content_filter"),
    "thought and text": (SAID, WHY, [], "stop"),
    "unsigned thought": (SAID, WHY, [], "stop"),
    "hidden thought": (SAID, None, [], "stop"),
    "calls": (SAID, None, CALLS, "tool_calls"),
    "thought and calls": (None, WHY, CALLS, "tool_calls"),
    "an unknown block": (SAID, None, [], "stop"),
}


def meaning(answer: Answer) -> Meaning:
    (choice,) = answer.choices
    reply = choice.message
    calls = [
        (call.id, call.function.name, call.function.arguments) for call in reply.tool_calls or ()
    ]
    return reply.content, reply.reasoning_content or None, calls, choice.finish_reason or ""


def events_of(data: bytes, step: int = 1 << 20) -> list[Event]:
    return read(ConverseEvents(), data, step)


def test_of_what_is_not_counted_there_is_none() -> None:
    assert Tokens().usage() == Usage(0, 0, 0)
    assert Tokens(1, 2, 3, 4).usage() == Usage(8, 2, 10)


@pytest.mark.parametrize("case", CONTENTS)
def test_answer_means_what_it_says(case: str) -> None:
    reason, content = CONTENTS[case]
    answer = read_answer(whole(content, reason))
    assert meaning(answer) == MEANINGS[case]
    assert answer.usage == Usage(123, 40, 163)


@pytest.mark.parametrize("case", CONTENTS)
@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_stream_means_what_the_whole_answer_means(case: str, step: int) -> None:
    reason, content = CONTENTS[case]
    events = events_of(streamed(content, reason), step)
    assert events[-1] == END
    (usage,) = [told.usage for told in events if told.usage is not None]
    assert gather(events, usage) == read_answer(whole(content, reason))


@given(st.data())
def test_stream_is_read_alike_however_it_is_split(data: Any) -> None:
    octets = streamed([THOUGHT, HIDDEN, TEXT, CALL], "tool_use")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=9)))
    reader, pieces = ConverseEvents(), zip([0, *cuts], [*cuts, len(octets)], strict=True)
    split = [told for start, stop in pieces for told in reader.feed(octets[start:stop])]
    assert split == events_of(octets)


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_come_back_in_their_places(stream: bool) -> None:
    content = [HIDDEN, TEXT, THOUGHT, CALL, OTHER_CALL]
    answer = (
        gather(events_of(streamed(content, "tool_use")), None)
        if stream
        else read_answer(whole(content, "tool_use"))
    )
    (part,) = answer.states
    assert part.state.dialect == "bedrock"
    assert decode_pieces(part.state.value) == [
        Hidden("aGlkZGVu"),
        len(SAID),
        Thought(WHY, "c2ln"),
        CALLED,
        CALLED,
    ]


def test_hidden_thought_may_come_in_pieces_of_any_size() -> None:
    pieces = [base64.b64encode(octets).decode() for octets in (b"a", b"bc", b"def")]
    deltas = [
        event("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": piece}}})
        for piece in pieces
    ]
    (state,) = gather(events_of(begin() + b"".join(deltas) + end("end_turn")), None).states
    assert decode_pieces(state.state.value) == [Hidden(base64.b64encode(b"abcdef").decode())]


def test_words_come_at_once() -> None:
    events = events_of(begin() + b"".join(block_frames(0, TEXT)))
    assert events[0].choices[0].delta.role == "assistant"
    assert [told.choices[0].delta.content for told in events[1:]] == ["Rain", ", sa", "ys A", "nn."]


def test_unknown_events_are_passed_over() -> None:
    data = begin() + event("newThing", {"a": 1}) + event("contentBlockDelta", {}) + end("end_turn")
    assert meaning(gather(events_of(data), None)) == ("", None, [], "stop")


def test_answer_without_its_count_is_an_answer() -> None:
    assert read_answer(whole([TEXT], "end_turn", usage=None)).usage is None
    *_, last = events_of(begin() + event("messageStop", {"stopReason": "end_turn"}))
    assert last.choices[0].finish_reason == "stop"


BROKEN: dict[str, tuple[bytes, Failure]] = {
    "nothing": (b"", Failure.BROKEN),
    "no text": (b"\xff", Failure.BROKEN),
    "no object": (b"[]", Failure.BROKEN),
    "no answer": (b"{}", Failure.BROKEN),
    "no reason": (whole([TEXT], "end_turn", stopReason=None), Failure.BROKEN),
    "an unknown reason": (whole([TEXT], "new_reason"), Failure.BROKEN),
    "an output that nobody can read": (whole([TEXT], "malformed_model_output"), Failure.BROKEN),
    "a call that nobody can read": (whole([], "malformed_tool_use"), Failure.TOOL_USE_FAILED),
    "arguments that are a list": (
        whole([{"toolUse": {"toolUseId": "t", "name": "f", "input": []}}], "tool_use"),
        Failure.TOOL_USE_FAILED,
    ),
    "deep nesting": (b'{"output":' + b"[" * 100_000, Failure.BROKEN),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_answer_is_a_failure(case: str) -> None:
    body, expected = BROKEN[case]
    with pytest.raises(UpstreamError) as caught:
        read_answer(body)
    assert caught.value.failure is expected


EVENT = {":message-type": "event", ":event-type": "contentBlockDelta"}
BROKEN_STREAMS: dict[str, tuple[bytes, Failure]] = {
    "an exception first": (failure("throttlingException"), Failure.LIMITED),
    "an exception later": (
        begin() + failure("modelStreamErrorException", "x"),
        Failure.BROKEN,
    ),
    "a request that was not valid": (
        failure("validationException", "Input is too long"),
        Failure.TOO_LONG,
    ),
    "a frame that is no event": (frame({}, b"{}"), Failure.BROKEN),
    "a changed octet": (begin()[:-1] + b"\0", Failure.BROKEN),
    "another format": (b"data: {}\n\ndata: {}\n\n", Failure.BROKEN),
    "no JSON": (frame(EVENT, b"{"), Failure.BROKEN),
    "another type": (frame(EVENT, b'{"delta":1}'), Failure.BROKEN),
    "a call that nobody can read": (begin() + end("malformed_tool_use"), Failure.TOOL_USE_FAILED),
    "arguments that are cut": (
        begin() + b"".join(list(block_frames(0, CALL))[:3]) + end("tool_use"),
        Failure.TOOL_USE_FAILED,
    ),
}


@pytest.mark.parametrize("case", BROKEN_STREAMS)
def test_what_is_no_stream_is_a_failure(case: str) -> None:
    data, expected = BROKEN_STREAMS[case]
    with pytest.raises(UpstreamError) as caught:
        events_of(data)
    assert caught.value.failure is expected


def test_stream_that_is_cut_does_not_end() -> None:
    data = streamed([TEXT], "end_turn")
    for size in range(len(data)):
        assert END not in events_of(data[:size])


def test_what_is_kept_of_an_answer_and_of_a_frame_is_counted() -> None:
    def told(content: dict[str, str]) -> bytes:
        return event(
            "contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": content}}
        )

    begun = told({"text": "Hm"})[:20]
    hidden = base64.b64encode(b"hidden").decode()
    assert kept_of(ConverseEvents(), told({"text": "Hm"}), begun) == 4 * len("Hm")
    assert kept_of(ConverseEvents(), told({"redactedContent": hidden}), begun) == len(b"hidden")
    both = told({"text": "Hm"}) + told({"redactedContent": hidden})
    assert kept_of(ConverseEvents(), both, begun) == 4 * len("Hm") + len(b"hidden")


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    data = streamed([THOUGHT, TEXT, CALL], "tool_use")
    check_handing(ConverseEvents, data, size_of_frames(data))


def test_all_that_is_said_is_of_the_first_choice() -> None:
    assert choices_in(ConverseEvents(), streamed([THOUGHT, TEXT, CALL], "tool_use")) == {0}


def test_of_what_is_hidden_no_more_is_kept_than_of_what_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = streamed([HIDDEN, TEXT], "end_turn")
    limit = "enclave_server.chat.dialects.bedrock.answers.MAX_KEPT_CHARACTERS"
    hidden = len(base64.b64decode(HIDDEN["reasoningContent"]["redactedContent"]))
    monkeypatch.setattr(limit, hidden)
    assert read(ConverseEvents(), data)
    monkeypatch.setattr(limit, hidden - 1)
    with pytest.raises(UpstreamError):
        read(ConverseEvents(), data)

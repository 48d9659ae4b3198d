"""What is read of OpenAI-compatible answers: known members alone, in one plain form."""

import json
from typing import Any

import pytest

from enclave_server.chat.conversation import (
    END,
    CallDelta,
    ChoiceDelta,
    Continuation,
    Conversation,
    Delta,
    Event,
    FunctionDelta,
    Kind,
    PartState,
    State,
    Usage,
    UsageDetails,
)
from enclave_server.chat.dialects.openai_chat.answers import ChunkReader, read_answer
from enclave_server.chat.dialects.openai_chat.thoughts import DETAIL_CHARACTERS
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.handing import check_handing, size_of_events
from tests.support.kept import kept_of
from tests.support.upstream import DONE, chunk_of, completion, event


def whole(kind: Kind, *choices: dict[str, Any]) -> Any:
    return read_answer(kind, json.dumps(completion("", choices=choices)).encode())


def test_choices_come_in_order_and_end_with_a_reason() -> None:
    said = [{"index": 1, "message": {"role": "x"}}, {"index": 0, "message": {"content": "a"}}]
    answer = whole(Conversation, *said)
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}
    assert {choice.message.role for choice in answer.choices} == {"assistant"}
    assert answer.usage == Usage(5, 7, 12)


def test_text_is_read_as_content() -> None:
    (choice,) = whole(Continuation, {"index": 0, "text": "a", "finish_reason": "length"}).choices
    assert (choice.message.content, choice.finish_reason) == ("a", "length")


@pytest.mark.parametrize("kind", [Conversation, Continuation])
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{}]}'])
def test_what_is_no_answer_is_a_failure(kind: Kind, body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_answer(kind, body)


def test_chunks_become_events_and_done_the_end() -> None:
    reader = ChunkReader(Conversation)
    data = event(chunk_of({"content": "a", "x": "b"}, usage={"prompt_tokens": 1})) + DONE
    assert [*reader.feed(data[:9]), *reader.feed(data[9:])] == [
        Event([ChoiceDelta(0, Delta(content="a"))], Usage(1)),
        END,
    ]


def test_text_chunks_are_read_as_content() -> None:
    reader = ChunkReader(Continuation)
    said = [{"index": 0, "text": "a"}, {"index": 1, "text": "", "finish_reason": "stop"}]
    assert [*reader.feed(event({"choices": said}))] == [
        Event([ChoiceDelta(0, Delta(content="a")), ChoiceDelta(1, finish_reason="stop")])
    ]


def test_events_before_a_broken_one_are_read() -> None:
    events = ChunkReader(Conversation).feed(event(chunk_of({"content": "a"})) + event("no"))
    assert next(iter(events)).choices
    with pytest.raises(UpstreamError):
        next(iter(events))


def streamed(*chunks: object, done: bool = True) -> list[Event]:
    data = b"".join(map(event, chunks)) + (DONE if done else b"")
    return [*ChunkReader(Conversation).feed(data)]


def failure_of(data: bytes) -> Failure:
    with pytest.raises(UpstreamError) as caught:
        list(ChunkReader(Conversation).feed(data))
    return caught.value.failure


# Whole answers.


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_what_was_thought_is_read_under_either_name(name: str) -> None:
    (choice,) = whole(Conversation, {"index": 0, "message": {"content": "a", name: "b"}}).choices
    assert (choice.message.content, choice.message.reasoning_content) == ("a", "b")
    (first, _) = streamed(chunk_of({name: "b"}))
    assert first.choices[0].delta == Delta(reasoning_content="b")


def test_content_may_be_a_list_of_thoughts_and_texts() -> None:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
        {"type": "text", "text": "4"},
    ]
    (choice,) = whole(Conversation, {"message": {"content": content}}).choices
    assert (choice.message.content, choice.message.reasoning_content) == ("4", "Hm.")
    (first, _) = streamed(chunk_of({"content": content}))
    assert first.choices[0].delta == Delta(content="4", reasoning_content="Hm.")


def test_a_filtered_answer_is_an_answer() -> None:
    filtered = {"index": 0, "finish_reason": "content_filter", "content_filter_results": {}}
    (choice,) = whole(Conversation, filtered).choices
    assert (choice.message.content, choice.finish_reason) == (None, "content_filter")


def test_calls_end_an_answer_whatever_the_server_says() -> None:
    call = {"id": "", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}
    said = {"message": {"content": None, "tool_calls": [call]}, "finish_reason": "stop"}
    (choice,) = whole(Conversation, said).choices
    (read,) = choice.message.tool_calls
    assert (read.function.name, read.function.arguments) == ("f", '{"a":1}')
    assert read.id
    assert choice.finish_reason == "tool_calls"


@pytest.mark.parametrize(("word", "end"), [("eos", "stop"), ("", "stop"), ("odd", "stop")])
def test_other_words_for_an_end(word: str, end: str) -> None:
    said = {"index": 0, "message": {"content": "a"}, "finish_reason": word}
    assert whole(Conversation, said).choices[0].finish_reason == end


def test_an_error_with_status_200_is_one() -> None:
    for body in ({"error": {"code": 429}}, {"choices": [], "error": {"code": "429"}}):
        with pytest.raises(UpstreamError) as caught:
            read_answer(Conversation, json.dumps(body).encode())
        assert caught.value.failure is Failure.LIMITED


def test_counts_tell_how_much_was_thought() -> None:
    details = {"reasoning_tokens": 3, "audio_tokens": 0}
    usage = {"prompt_tokens": 1, "completion_tokens": 4, "completion_tokens_details": details}
    answer = read_answer(Conversation, json.dumps(completion("a", usage=usage)).encode())
    assert answer.usage == Usage(1, 4, 0, UsageDetails(3))
    for odd in ({**usage, "completion_tokens_details": None}, {**usage, "total_tokens": None}):
        answer = read_answer(Conversation, json.dumps(completion("a", usage=odd)).encode())
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 4


def test_details_of_thoughts_and_signatures_of_calls_are_states() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "s"}}}
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}, **signed}
    details = [{"type": "reasoning.text", "text": "Hm"}]
    said = {"content": None, "reasoning": "Hm", "reasoning_details": details, "tool_calls": [call]}
    answer = whole(Conversation, {"index": 1, "message": said})
    ours = (
        State("openai-chat", b"s"),
        State("openai-chat", json.dumps(details).replace(" ", "").encode()),
    )
    assert answer.states == (PartState(1, ours[0], 0), PartState(1, ours[1]))
    events = streamed(
        chunk_of({**said, "tool_calls": [{**call, "index": 7}]}), chunk_of({}, "stop")
    )
    assert events[0].states == (PartState(0, ours[0], 0),)
    assert events[-1].ends
    assert events[-1].states == (PartState(0, ours[1]),)
    alone = streamed(chunk_of({"tool_calls": [{**call, "index": 7}]}), chunk_of({}, "stop"))
    assert alone[0].states == (PartState(0, ours[0], 0),)
    plain = whole(Conversation, {"message": {"content": None, "tool_calls": [call]}})
    assert plain.states == (PartState(0, ours[0], 0),)


# Streams.


def called(identifier: str, name: str, arguments: str, **more: int) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return chunk_of({"tool_calls": [{"id": identifier, "function": function, **more}]})


@pytest.mark.parametrize("index", [{}, {"index": 0}])
def test_two_calls_are_two_whatever_their_numbers(index: dict[str, int]) -> None:
    events = streamed(
        called("a", "f", '{"x":1}', **index),
        called("b", "g", '{"y":2}', **index),
        chunk_of({}, "stop"),
    )
    parts = [call for each in events[:2] for call in each.choices[0].delta.tool_calls or ()]
    assert parts == [
        CallDelta(0, "a", parts[0].type, FunctionDelta("f", '{"x":1}')),
        CallDelta(1, "b", parts[1].type, FunctionDelta("g", '{"y":2}')),
    ]
    assert events[2].choices[0].finish_reason == "tool_calls"


ODD = {
    "null": None,
    "no choices": {"choices": None, "usage": None},
    "no delta": chunk_of({}) | {"choices": [{"index": 0, "delta": None}]},
    "no index": chunk_of({}) | {"choices": [{"delta": {}}]},
    "a filter's findings": {"choices": [], "prompt_filter_results": [{"message": "x"}]},
}


@pytest.mark.parametrize("case", ODD)
def test_events_that_say_nothing_do_no_harm(case: str) -> None:
    events = streamed(ODD[case], chunk_of({"content": "a"}, "stop"))
    assert not any(choice.delta != Delta() for choice in events[0].choices)
    assert events[1].choices[0].delta == Delta(content="a")


def test_groq_counts_in_a_place_of_its_own() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert streamed(chunk_of({}, "stop", x_groq={"usage": usage}))[0].usage == Usage(1, 2, 3)
    assert streamed({"choices": [], "x_groq": {"usage": usage}})[0].usage == Usage(1, 2, 3)
    assert streamed(chunk_of({}, "stop", x_groq={"id": "req_1"}))[0].usage is None


def test_an_unknown_end_is_none_until_the_answer_ends() -> None:
    assert streamed(chunk_of({}, "odd"))[0].choices[0].finish_reason is None


FAILING: dict[str, tuple[bytes, Failure]] = {
    "an error": (event({"error": {"code": "rate_limit_exceeded"}}), Failure.LIMITED),
    "an error beside choices": (event(chunk_of({}, error={"code": 503})), Failure.BUSY),
    "an error in a flat object": (
        event({"object": "error", "message": "x", "code": 503}),
        Failure.BUSY,
    ),
    "an event that is an error": (
        b"event: error\n" + event({"error": {"code": "tool_use_failed", "status_code": 400}}),
        Failure.TOOL_USE_FAILED,
    ),
    "an end that is a failure": (event(chunk_of({}, "error")), Failure.BROKEN),
    "a content that is none": (event(chunk_of({"content": 5})), Failure.BROKEN),
    "a list": (event([chunk_of({})]), Failure.BROKEN),
}


@pytest.mark.parametrize("case", FAILING)
def test_failures_amid_a_stream(case: str) -> None:
    data, failure = FAILING[case]
    assert failure_of(data) is failure


def test_what_is_kept_of_details_and_of_an_event_is_counted() -> None:
    delta = {"reasoning_details": [{"type": "t", "text": "Hm"}], "reasoning": "Hm"}
    told = event({"choices": [{"index": 0, "delta": delta}]})
    kept = 4 * (len("tHm") + DETAIL_CHARACTERS)
    assert kept_of(ChunkReader(Conversation), told) == kept
    further = event({"choices": [{"index": 0, "delta": delta}]})
    assert kept_of(ChunkReader(Conversation), told + further) == kept + 4 * len("tHm")


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    events = [event(chunk_of({"content": "a"})), event(chunk_of({"reasoning_content": "why" * 9}))]
    data = b"".join([*events, event(chunk_of({}, "stop"))])
    check_handing(lambda: ChunkReader(Conversation), data, size_of_events(data))

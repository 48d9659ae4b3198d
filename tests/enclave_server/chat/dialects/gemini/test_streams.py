"""A streamed answer of Google's means what the whole one does, however it is cut."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from enclave_server.chat.dialects.gemini.answers import read_answer
from enclave_server.chat.dialects.gemini.partial_calls import VALUE_OCTETS
from enclave_server.chat.dialects.gemini.signatures import NAME
from enclave_server.chat.dialects.gemini.streams import (
    CANDIDATE_OCTETS,
    MAX_CANDIDATES,
    EventReader,
)
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.event_stream import MAX_EVENT_OCTETS
from tests.support.gemini_server import (
    SIGNATURE,
    begun,
    call,
    candidate,
    encode,
    events_of,
    piece,
    response,
    text,
    thought,
)
from tests.support.handing import check_handing, size_of_events
from tests.support.kept import kept_of
from tests.support.meanings import everywhere, meaning_of, meaning_of_stream
from tests.support.numbers import choices_in

Json = dict[str, Any]

LIKELY = {
    "chosenCandidates": [{"token": "Wet", "tokenId": 1, "logProbability": -0.5}],
    "topCandidates": [{"candidates": [{"token": "Dry", "logProbability": -1.5}]}],
}

ANSWERS = {
    "text": response(candidate(text("Paris is wet: 雨."))),
    "no text at all": response(candidate(text(""))),
    "thoughts": response(candidate(thought("It rains, so wet."), text("Wet."))),
    "signed text": response(candidate(text("Wet.", thoughtSignature=SIGNATURE))),
    "a signature alone": response(
        candidate(text("Wet."), text("", thoughtSignature=SIGNATURE)),
    ),
    "parallel calls": response(
        candidate(call("f", {"a": 1}, thoughtSignature=SIGNATURE), call("f", {"a": 2}))
    ),
    "a call without arguments": response(candidate(call("f"))),
    "text and a call": response(
        candidate(
            thought("Hm."), text("I look.", thoughtSignature=SIGNATURE), call("f", {"a": [1]})
        )
    ),
    "two answers": response(candidate(text("Wet.")), candidate(text("Dry."), index=1)),
    "likelihoods": response(candidate(text("Wet"), logprobsResult=LIKELY)),
    "calls in pieces": response(
        candidate(
            begun("f", thoughtSignature=SIGNATURE),
            piece("$.at", string="Par", more=True),
            piece("$.at", string="is"),
            piece("$.day", number=3, last=True),
            begun("g"),
            piece("$.a[0].b", string="c"),
        )
    ),
    "a limit": response(candidate(text("Par"), why="MAX_TOKENS")),
    "a limit amid thought": response({"finishReason": "MAX_TOKENS", "index": 0}),
    "a filter": response(candidate(text("Par"), why="SAFETY")),
    "a prompt that is not answered": response(
        promptFeedback={"blockReason": "PROHIBITED_CONTENT"},
        usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5},
    ),
    "no usage": response(candidate(text("Wet.")), usageMetadata=None),
}


def streamed(data: bytes, cuts: Any = ()) -> Json:
    return meaning_of_stream(EventReader(), data, cuts)


def whole(answer: Any) -> Json:
    return meaning_of(read_answer(json.dumps(answer).encode()))


@pytest.mark.parametrize("cuts", ["whole", "octet by octet"])
@pytest.mark.parametrize("case", ANSWERS)
def test_stream_means_what_the_whole_answer_does(case: str, cuts: str) -> None:
    data = encode(events_of(ANSWERS[case]))
    expected = whole(ANSWERS[case])
    assert streamed(data, () if cuts == "whole" else everywhere(data)) == expected
    assert whole(events_of(ANSWERS[case])) == expected  # as without `alt=sse`


def test_signatures_are_of_calls_or_of_the_whole_text() -> None:
    assert whole(ANSWERS["parallel calls"])["states"] == {(0, 0): (NAME, SIGNATURE.encode())}
    assert whole(ANSWERS["signed text"])["states"] == {(0, None): (NAME, SIGNATURE.encode())}


def test_mark_of_an_end_is_passed_over() -> None:
    data = encode(events_of(ANSWERS["text"])) + b"data: [DONE]\n\n"
    assert streamed(data) == whole(ANSWERS["text"])


def test_end_is_told_once() -> None:
    events = [*events_of(ANSWERS["signed text"]), response(candidate(why="STOP"))]
    assert streamed(encode(events)) == whole(ANSWERS["signed text"])


def test_stream_that_is_cut_has_no_end() -> None:
    data = encode(events_of(ANSWERS["text"])[:-1])
    assert streamed(data)["choices"][0]["finish"] is None


def test_usage_that_counts_nothing_is_none() -> None:
    events = [response(candidate(text("W")), usageMetadata={"trafficType": "ON_DEMAND"})]
    assert streamed(encode(events))["usage"] is None


FAILURES = {
    "an error": ({"error": {"code": 503, "message": "secret"}}, Failure.BUSY),
    "an error by its word": ({"error": {"status": "RESOURCE_EXHAUSTED"}}, Failure.LIMITED),
    "an error in a list": ([{"error": {"code": 429}}], Failure.LIMITED),
    "a call that cannot be read": (
        response(candidate(why="MALFORMED_FUNCTION_CALL")),
        Failure.TOOL_USE_FAILED,
    ),
    "a reason that is not known": (response(candidate(why="OTHER")), Failure.BROKEN),
    "a call without a name": (response(candidate({"functionCall": {}})), Failure.BROKEN),
    "a piece of no call": (
        response(candidate({"functionCall": {"partialArgs": [{"jsonPath": "$.a"}]}})),
        Failure.BROKEN,
    ),
    "a signature that is none": (
        {"candidates": [candidate(text("", thoughtSignature="!"))]},
        Failure.BROKEN,
    ),
    "arguments that are no object": (
        {"candidates": [candidate({"functionCall": {"name": "f", "args": [1]}})]},
        Failure.BROKEN,
    ),
    "text": ("text", Failure.BROKEN),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures(case: str) -> None:
    said, failure = FAILURES[case]
    readings: list[Callable[[], Json]] = [
        lambda: streamed(encode([said])),
        lambda: whole(said),
    ]
    for read in readings:
        with pytest.raises(UpstreamError) as caught:
            read()
        assert caught.value.failure is failure
        assert "secret" not in str(caught.value.encode())


@pytest.mark.parametrize("data", [b"{", b"\xff", b"[" * 9999])
def test_what_is_no_event_is_a_failure(data: bytes) -> None:
    with pytest.raises(UpstreamError):
        streamed(b"data: " + data + b"\n\n")


def test_no_more_of_an_event_is_kept_than_its_reader_keeps() -> None:
    with pytest.raises(UpstreamError):
        [*EventReader().feed(b"data:" + b" " * (MAX_EVENT_OCTETS + 1))]


def test_no_more_candidates_are_read_than_a_stream_may_have() -> None:
    def read(count: int) -> int:
        said = [response(candidate(text("a"), why=None, index=each)) for each in range(count)]
        return len([*EventReader().feed(encode(said))])

    assert read(MAX_CANDIDATES) >= MAX_CANDIDATES
    with pytest.raises(UpstreamError) as caught:
        read(MAX_CANDIDATES + 1)
    assert caught.value.failure is Failure.BROKEN


def test_what_is_kept_of_candidates_and_of_an_event_is_counted() -> None:
    signed = candidate(text("Wet.", thoughtSignature=SIGNATURE), why=None)
    told = [response(signed, candidate(text("Dry."), why=None, index=1))]
    assert kept_of(EventReader(), encode(told)) == 2 * CANDIDATE_OCTETS + len(SIGNATURE)
    called = candidate(begun("f"), piece("$.a", string="abc", more=True), why=None)
    kept = CANDIDATE_OCTETS + VALUE_OCTETS + len("abc")
    assert kept_of(EventReader(), encode([response(called)])) == kept


def test_what_is_blocked_ends_the_stream() -> None:
    blocked = response(promptFeedback={"blockReason": "SAFETY"}, usageMetadata=None)
    (event,) = EventReader().feed(encode([blocked]))
    assert event.ends
    assert [part.finish_reason for part in event.choices] == ["content_filter"]


def test_what_is_large_is_read_by_another_that_is_given_the_state() -> None:
    whole = response(candidate(thought("Hm."), text("Wet."), call("f", {"a": 1})))
    data = encode(events_of(whole))
    check_handing(EventReader, data, size_of_events(data))


def test_all_that_is_said_is_of_the_first_choice() -> None:
    refused = {"promptFeedback": {"blockReason": "SAFETY"}}
    for said in (response(candidate(thought("Hm."), text("Wet."))), refused):
        assert choices_in(EventReader(), encode([said])) == {0}

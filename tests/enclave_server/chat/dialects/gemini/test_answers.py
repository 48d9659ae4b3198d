"""What whole answers of Google's mean; that streams mean the same is tested beside their reader."""

import base64
import json
import re
from typing import Any

import pytest

from enclave_server.chat.dialects.gemini.answers import read_answer
from enclave_server.chat.dialects.gemini.signatures import NAME
from enclave_server.chat.errors import Failure, UpstreamError
from tests.support.gemini_server import begun, call, candidate, piece, response, text, thought
from tests.support.meanings import meaning_of

Json = dict[str, Any]


def read(answer: object) -> Json:
    return meaning_of(read_answer(json.dumps(answer).encode()))


SAID: dict[str, tuple[Json, Json]] = {
    "text": (response(candidate(text("We"), text("t."))), {"content": "Wet.", "finish": "stop"}),
    "a candidate without a number": (
        {"candidates": [{"content": {"parts": [text("Wet.")]}, "finishReason": "STOP"}]},
        {"content": "Wet."},
    ),
    "thoughts": (
        response(candidate(thought("Hm, "), thought("rain."), text("Wet."))),
        {"reasoning": "Hm, rain.", "content": "Wet."},
    ),
    "calls": (
        response(candidate(call("f", {"a": "°"}), call("g"))),
        {"calls": [("f", {"a": "°"}), ("g", {})], "finish": "tool_calls"},
    ),
    "parts that are not read": (
        response(candidate({"executableCode": {"code": "1", "language": "PYTHON"}}, text("Wet."))),
        {"content": "Wet."},
    ),
    "nulls": (
        {"candidates": [{"content": {"parts": None}, "finishReason": "STOP"}], "error": None},
        {"content": "", "calls": [], "finish": "stop"},
    ),
    "no content": (response({"finishReason": "SAFETY"}), {"finish": "content_filter"}),
    "a limit amid a call": (
        response(candidate(call("f"), why="MAX_TOKENS")),
        {"calls": [("f", {})], "finish": "length"},
    ),
}


@pytest.mark.parametrize("case", SAID)
def test_what_is_said(case: str) -> None:
    answer, expected = SAID[case]
    assert expected.items() <= read(answer)["choices"][0].items()


def test_each_call_has_the_signature_that_came_with_it() -> None:
    first, last = (base64.b64encode(octets).decode() for octets in (b"a", b"b"))
    parts = call("f", thoughtSignature=first), call("g"), call("h", thoughtSignature=last)
    states = read(response(candidate(*parts)))["states"]
    assert states == {(0, 0): (NAME, first.encode()), (0, 2): (NAME, last.encode())}


def test_likelihoods_are_told_and_strung_together() -> None:
    def likely(token: str) -> Json:
        return {"chosenCandidates": [{"token": token, "tokenId": 1, "logProbability": -0.5}]}

    first = candidate(text("We"), why=None, logprobsResult=likely("We"))
    last = candidate(text("t."), logprobsResult=likely("t."))
    answer = read_answer(json.dumps([response(first), response(last)]).encode())
    likelihoods = answer.choices[0].logprobs
    assert likelihoods is not None
    assert [(each.token, each.logprob) for each in likelihoods.content or ()] == [
        ("We", -0.5),
        ("t.", -0.5),
    ]
    plain = read_answer(json.dumps(response(candidate(text("Wet.")))).encode())
    assert plain.choices[0].logprobs is None


def test_tokens_of_thought_are_tokens_of_the_answer() -> None:
    assert read(response(candidate(text("Wet."))))["usage"] == {
        "prompt_tokens": 11,
        "completion_tokens": 7,
        "total_tokens": 18,
        "completion_tokens_details": {"reasoning_tokens": 5},
    }


def test_calls_keep_their_identifiers_or_get_new_ones() -> None:
    named = call("f")
    named["functionCall"]["id"] = "call_theirs"
    body = json.dumps(response(candidate(named, call("f"), call("f")))).encode()
    (choice,) = read_answer(body).choices
    theirs, *drawn = [each.id for each in choice.message.tool_calls or ()]
    assert theirs == "call_theirs"
    assert len({*drawn}) == 2
    assert all(re.fullmatch("call_[0-9a-f]{24}", each) for each in drawn)


def test_answers_come_in_the_order_of_their_numbers() -> None:
    both = response(candidate(text("b"), index=1), candidate(text("a")))
    choices = read_answer(json.dumps(both).encode()).choices
    assert [(choice.index, choice.message.content) for choice in choices] == [(0, "a"), (1, "b")]


@pytest.mark.parametrize(
    "body",
    [{}, [], {"candidates": []}, {"promptFeedback": {}}, response(candidate(why=None)), "text"],
    ids=str,
)
def test_what_is_no_answer_is_a_failure(body: object) -> None:
    with pytest.raises(UpstreamError) as caught:
        read(body)
    assert caught.value.failure is Failure.BROKEN


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 9999])
def test_garbage_is_a_failure(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        read_answer(body)


def test_the_last_count_of_tokens_counts() -> None:
    first, last = response(candidate(text("We"), why=None)), response(candidate(text("t.")))
    first["usageMetadata"] = {"promptTokenCount": 1, "candidatesTokenCount": 1}
    last["usageMetadata"] = {"promptTokenCount": 2, "candidatesTokenCount": 3}
    usage = read_answer(json.dumps([first, last]).encode()).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (2, 3)


def test_a_call_in_pieces_is_whole_with_the_end_of_its_answer() -> None:
    parts = [candidate(begun("f"), why=None), candidate(piece("$.a", number=1))]
    answer = read_answer(json.dumps([response(each) for each in parts]).encode())
    (made,) = answer.choices[0].message.tool_calls or []
    assert (made.function.name, made.function.arguments) == ("f", '{"a":1}')


def test_a_question_that_is_refused_has_one_answer_without_a_word() -> None:
    refused = {"promptFeedback": {"blockReason": "SAFETY"}}
    (choice,) = read_answer(json.dumps(refused).encode()).choices
    assert (choice.index, choice.message.content) == (0, "")
    assert choice.finish_reason == "content_filter"

"""What is read of Google's answers, and what each word for an end means."""

import pytest
from google.genai.types import FinishReason

from enclave_server.chat.conversation import Logprobs, TokenLogprob, TopLogprob, Usage, UsageDetails
from enclave_server.chat.dialects.gemini.shapes import (
    Candidate,
    Content,
    LogprobsResult,
    Part,
    PromptFeedback,
    Response,
    Token,
    TopTokens,
    UsageMetadata,
    finish_reason,
    logprobs_of,
    usage_of,
)
from enclave_server.chat.errors import Failure, UpstreamError

WORDS = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "LANGUAGE": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "MODEL_ARMOR": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "IMAGE_OTHER": "content_filter",
    "MALFORMED_FUNCTION_CALL": Failure.TOOL_USE_FAILED,
    "UNEXPECTED_TOOL_CALL": Failure.TOOL_USE_FAILED,
    "TOO_MANY_TOOL_CALLS": Failure.TOOL_USE_FAILED,
    "MISSING_THOUGHT_SIGNATURE": Failure.BROKEN,
    "MALFORMED_RESPONSE": Failure.BROKEN,
    "NO_IMAGE": Failure.BROKEN,
    "ESCALATION": Failure.BROKEN,
    "PUP_LIMITED_DISABLED": Failure.BROKEN,
    "CONTINUATION": Failure.BROKEN,
    "OTHER": Failure.BROKEN,
    "FINISH_REASON_UNSPECIFIED": Failure.BROKEN,
}


def test_every_word_of_the_sdk_has_a_meaning() -> None:
    assert {word.value for word in FinishReason} == {*WORDS}


@pytest.mark.parametrize("word", [*WORDS, "", "a new one"])
def test_ends(word: str) -> None:
    meaning = WORDS.get(word, Failure.BROKEN)
    if isinstance(meaning, str):
        assert finish_reason(word, calls=False) == meaning
        assert finish_reason(word, calls=True) == ("tool_calls" if word == "STOP" else meaning)
        return
    with pytest.raises(UpstreamError) as caught:
        finish_reason(word, calls=True)
    assert caught.value.failure is meaning


@pytest.mark.parametrize(
    ("count", "usage"),
    [
        (None, None),
        (UsageMetadata(), None),
        (UsageMetadata(5), Usage(5, 0, 5, UsageDetails(0))),
        (UsageMetadata(5, 2, 7, 3, 99), Usage(8, 9, 99, UsageDetails(7))),
    ],
)
def test_usage(count: UsageMetadata | None, usage: Usage | None) -> None:
    assert usage_of(count) == usage


def test_likelihoods_have_the_octets_of_their_tokens() -> None:
    chosen = [Token("é", -1.0), Token("\ud800", -2.0)]
    tops = [TopTokens([Token("b", -3.0)]), TopTokens(), TopTokens([Token("beyond")])]
    assert logprobs_of(LogprobsResult(chosen, tops)) == Logprobs(
        content=[
            TokenLogprob("é", -1.0, [195, 169], [TopLogprob("b", -3.0, [98])]),
            TokenLogprob("\ud800", -2.0, [63], []),
        ]
    )
    assert logprobs_of(LogprobsResult(chosen)) is not None
    assert logprobs_of(LogprobsResult()) is logprobs_of(None) is None


def test_what_is_missing_is_nothing() -> None:
    assert Candidate().parts == Candidate(content=Content()).parts == []
    assert Candidate(content=Content([Part("a")])).parts == [Part("a")]


@pytest.mark.parametrize(
    ("response", "blocked"),
    [
        (Response(), False),
        (Response(prompt_feedback=PromptFeedback()), False),
        (Response(prompt_feedback=PromptFeedback("SAFETY")), True),
        (Response([], PromptFeedback("SAFETY")), True),
        (Response([Candidate()], PromptFeedback("SAFETY")), False),
    ],
)
def test_prompt_is_blocked_if_nothing_answers_it(response: Response, blocked: bool) -> None:
    assert response.is_blocked is blocked

"""Ends of answers: other words for the same, words for failures, and words that nobody knows."""

import pytest

from enclave_server.chat.dialects.openai_chat.endings import meaning
from enclave_server.chat.errors import Failure, UpstreamError


@pytest.mark.parametrize(
    ("word", "has_calls", "end"),
    [
        ("stop", False, "stop"),
        ("stop", True, "tool_calls"),
        ("STOP", True, "tool_calls"),
        ("eos", False, "stop"),
        ("tool_calls", False, "stop"),
        ("tool_use", True, "tool_calls"),
        ("length", True, "length"),
        ("MAX_TOKENS", False, "length"),
        ("SAFETY", False, "content_filter"),
        ("nobody knows", False, None),
        ("", False, None),
    ],
)
def test_a_word_means_one_of_four(word: str, has_calls: bool, end: str | None) -> None:
    assert meaning(word, has_calls=has_calls) == end


@pytest.mark.parametrize(
    ("word", "failure"),
    [
        ("error", Failure.BROKEN),
        ("insufficient_system_resource", Failure.BUSY),
        ("MALFORMED_FUNCTION_CALL", Failure.TOOL_USE_FAILED),
    ],
)
def test_some_words_mean_that_there_is_no_answer(word: str, failure: Failure) -> None:
    with pytest.raises(UpstreamError) as caught:
        meaning(word, has_calls=False)
    assert caught.value.failure is failure

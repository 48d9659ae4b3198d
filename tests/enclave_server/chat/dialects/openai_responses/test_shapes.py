"""What is read of the Responses API: nulls are absent, and what is missing is none."""

import msgspec
import pytest

from enclave_server.chat.conversation import Logprobs, TokenLogprob, TopLogprob, Usage, UsageDetails
from enclave_server.chat.dialects.openai_responses.shapes import (
    Content,
    Count,
    Item,
    OutputDetails,
    Response,
    Token,
    is_error,
    logprobs_of,
    usage_of,
)


def test_null_is_absent() -> None:
    nulls = b'{"status":null,"output":null,"usage":null,"incomplete_details":null,"error":null}'
    response = msgspec.json.decode(nulls, type=Response)
    assert (response.output, response.usage, is_error(response.error)) == (None, None, False)
    assert not is_error(Response().error)
    assert is_error(msgspec.Raw(b"{}"))


def test_content_is_parts_or_text() -> None:
    assert Item(content="Wet.").parts == [Content("output_text", "Wet.")]
    assert Item(content=[Content("x")]).parts == [Content("x")]
    assert Item().parts == []


@pytest.mark.parametrize(
    ("count", "usage"),
    [
        (None, None),
        (Count(), None),
        (Count(1), Usage(1, 0, 1)),
        (Count(1, 2, 9), Usage(1, 2, 9)),
        (Count(1, 2, 3, OutputDetails()), Usage(1, 2, 3, UsageDetails(0))),
        (Count(1, 2, 3, OutputDetails(2)), Usage(1, 2, 3, UsageDetails(2))),
    ],
)
def test_usage(count: Count | None, usage: Usage | None) -> None:
    assert usage_of(count) == usage


def test_likelihoods() -> None:
    assert logprobs_of(None) is None
    assert logprobs_of([]) is None
    likely = Token("b", -2.0)
    assert logprobs_of([Token("a", -1.0, [97], [likely]), likely]) == Logprobs(
        content=[
            TokenLogprob("a", -1.0, [97], [TopLogprob("b", -2.0)]),
            TokenLogprob("b", -2.0, None, []),
        ]
    )

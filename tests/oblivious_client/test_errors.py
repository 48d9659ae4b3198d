"""Errors: each has its exit code, and SDKs retry none that must be seen at once."""

import httpx
import pytest

from oblivious_client.errors import (
    AnswerTruncated,
    AnswerUnproven,
    AnswerUnreadable,
    ClientError,
    ConnectionLost,
    EvidenceRefused,
    ExchangeError,
    IssuerRefused,
    IssuerSilent,
    NoAnswer,
    NoConnection,
    NoToken,
    OuterRefusal,
    ServiceError,
    TokenRefused,
    UsageError,
    WalletUnusable,
)
from oblivious_client.exits import Exit


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError("m"), Exit.FAILURE),
        (UsageError("m"), Exit.USAGE),
        (EvidenceRefused("m", code=Exit.CHAIN), Exit.CHAIN),
        (AnswerUnproven("m"), Exit.ANSWER_SIGNATURE),
        (ServiceError(503, "m"), Exit.SERVICE_ERROR),
        (ExchangeError("m"), Exit.FAILURE),
        (OuterRefusal("m", status=502, advice=""), Exit.OUTER_REFUSAL),
        (NoConnection("m", advice="a"), Exit.NO_CONNECTION),
        (NoAnswer(), Exit.NO_CONNECTION),
        (ConnectionLost("m", advice="a"), Exit.NO_CONNECTION),
        (AnswerTruncated(), Exit.TRUNCATED),
        (AnswerUnreadable("m"), Exit.UNREADABLE),
        (WalletUnusable("m", advice="a"), Exit.WALLET),
        (NoToken("m", advice="a"), Exit.NO_TOKEN),
        (TokenRefused("m", advice="a"), Exit.TOKEN_REFUSED),
        (IssuerRefused("m"), Exit.ISSUER_REFUSED),
        (IssuerSilent("m"), Exit.NO_CONNECTION),
    ],
)
def test_each_has_its_code(error: ClientError, code: Exit) -> None:
    assert error.code is code


def test_what_is_advised_and_answered_is_kept() -> None:
    assert UsageError("m", advice="a").advice == "a"
    assert str(ServiceError(503, "busy", advice="a")) == "the service answered 503: busy"
    assert ServiceError(503, "busy", advice="a").advice == "a"
    refused = OuterRefusal("m", status=502, advice="a")
    assert (refused.status, refused.advice) == (502, "a")
    assert ServiceError(503, "busy").status == 503


@pytest.mark.parametrize("error", [AnswerUnproven("m"), AnswerTruncated(), AnswerUnreadable("m")])
def test_a_bad_answer_is_not_left_without_advice(error: ClientError) -> None:
    assert "again" in error.advice


def test_sdks_see_an_httpx_error_only_of_the_exchange() -> None:
    for kind in (ExchangeError, OuterRefusal, AnswerTruncated, AnswerUnreadable, ConnectionLost):
        assert issubclass(kind, httpx.TransportError)
    assert issubclass(NoConnection, httpx.ConnectError)
    assert issubclass(NoAnswer, httpx.TimeoutException)
    # A refusal that an SDK took for an outage would be tried again instead of seen.
    for other in (UsageError, EvidenceRefused, AnswerUnproven, ServiceError):
        assert not issubclass(other, httpx.HTTPError)


@pytest.mark.parametrize(
    ("status", "is_free"),
    [(None, False), (399, False), (400, True), (499, True), (500, False)],
)
def test_a_refusal_of_an_issuer_may_say_that_nothing_was_paid(
    status: int | None, is_free: bool
) -> None:
    assert IssuerRefused("m", status=status).is_free is is_free


def test_who_does_not_answer_may_be_behind_who_does() -> None:
    assert not OuterRefusal("m", status=502, advice="").is_silence
    assert OuterRefusal("m", status=502, advice="", is_silence=True).is_silence

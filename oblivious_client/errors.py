"""Errors of the client: what happened, what to do, and the exit code."""

from __future__ import annotations

import httpx

from oblivious_client.exits import Exit
from oblivious_client.failure import ClientError as ClientError
from oblivious_client.failure import UsageError as UsageError


class EvidenceRefused(ClientError):
    """The evidence does not prove what the policy asks for; nothing was sent.

    Deliberately no httpx error: SDKs retry those, and a refusal must be seen at once.
    """


class AnswerUnproven(ClientError):
    """The answer does not carry a valid signature of the attested key."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            advice="do not rely on this answer; run `oblivious-client verify` and ask again",
            code=Exit.ANSWER_SIGNATURE,
        )


class ServiceError(ClientError):
    """The service answered with an error, sealed; `kind` and `error_code` are its own words."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        advice: str = "",
        kind: str | None = None,
        error_code: str | None = None,
    ) -> None:
        super().__init__(
            f"the service answered {status}: {message}", advice=advice, code=Exit.SERVICE_ERROR
        )
        self.status, self.kind, self.error_code = status, kind, error_code


class ExchangeError(ClientError, httpx.RemoteProtocolError):
    """The exchange with relay or gateway failed; SDKs see an httpx error."""


class NoConnection(ClientError, httpx.ConnectError):
    """Nobody took the connection; nothing was sent."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message, advice=advice, code=Exit.NO_CONNECTION)


class NoAnswer(ClientError, httpx.ReadTimeout):
    """No answer, or no more of it, came in time."""

    def __init__(self) -> None:
        super().__init__(
            "no answer in time",
            advice="the relay or gateway is down or overloaded; try again",
            code=Exit.NO_CONNECTION,
        )


class ConnectionLost(ExchangeError):
    """The connection ended before an answer began."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message, advice=advice, code=Exit.NO_CONNECTION)


class OuterRefusal(ExchangeError):
    """The relay or gateway answered with an error instead of a sealed answer.

    `is_silence` says that whoever is behind it does not answer, `is_of_document` that no question
    was refused but what everybody is served alike, as evidence is.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        advice: str,
        is_silence: bool = False,
        is_of_document: bool = False,
    ) -> None:
        super().__init__(message, advice=advice, code=Exit.OUTER_REFUSAL)
        self.status, self.is_silence, self.is_of_document = status, is_silence, is_of_document


class AnswerTruncated(ExchangeError):
    """The answer ended before its final chunk."""

    def __init__(self) -> None:
        super().__init__(
            "the answer broke off before its end",
            advice="somebody on the way or the network cut it; what came is not all: ask again",
            code=Exit.TRUNCATED,
        )


class AnswerUnreadable(ExchangeError):
    """The sealed answer does not open, or holds garbage."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            advice="somebody on the way altered it, or the gateway is faulty; ask again",
            code=Exit.UNREADABLE,
        )


class WalletUnusable(ClientError):
    """The wallet cannot be read or written; nothing in it was changed."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message, advice=advice, code=Exit.WALLET)


class NoToken(ClientError):
    """No token in the wallet suffices for a question; nothing was sent."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message, advice=advice, code=Exit.NO_TOKEN)


class TokenRefused(ClientError):
    """The gateway refused every token that it was offered, and answered nothing."""

    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message, advice=advice, code=Exit.TOKEN_REFUSED)


class IssuerRefused(ClientError):
    """An issuer gave no tokens; `status` is that of its answer, where it is one of HTTP."""

    def __init__(self, message: str, *, advice: str = "", status: int | None = None) -> None:
        super().__init__(message, advice=advice, code=Exit.ISSUER_REFUSED)
        self.status = status

    @property
    def is_free(self) -> bool:
        """Whether the refusal says that nothing was paid for this request."""
        return self.status is not None and 400 <= self.status < 500


class IssuerSilent(ClientError):
    """No answer of an issuer came; a purchase under way can be finished later."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            advice="what was begun is kept: `oblivious-client tokens check` finishes it",
            code=Exit.NO_CONNECTION,
        )

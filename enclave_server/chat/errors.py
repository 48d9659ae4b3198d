"""What a refused or failed request is answered: OpenAI's error object and an inner status.

Every text here is our own. It goes, sealed, to the person who sent the request, and to nobody else.
"""

import enum

import msgspec

from protocol.binary_http import Response
from protocol.registry import JSON

JSON_FIELD = (b"content-type", JSON)
INVALID_REQUEST = "invalid_request_error"

LIMIT_NAMES = ("max_tokens", "max_completion_tokens")
"""What chat completions call the limit of an answer; who is asked may know the other name."""


class ChatError(Exception):
    """A request that gets an error object: `status` and the object's four members."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        fields: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        super().__init__(status, code)
        self.status, self.message, self.kind = status, message, kind
        self.param, self.code, self.fields = param, code, fields
        self.token: str | None = None  # what became of it, where a stream that was paid for fails

    def name_limit(self, own: str | None) -> None:
        """Call the limit of the answer what its client calls it, if it says one."""
        for name in LIMIT_NAMES:
            if own is not None and self.param == name:
                self.param, self.message = own, self.message.replace(f"'{name}'", f"'{own}'")

    def encode(self) -> bytes:
        """Return the error object as JSON."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        if self.token is not None:
            error["token"] = self.token
        return msgspec.json.encode({"error": error})

    def response(self) -> Response:
        """Return the inner answer that carries the error object."""
        return Response(self.status, (JSON_FIELD, *self.fields), self.encode())


class Failure(enum.Enum):
    """What can go wrong with an upstream: inner status, error type, code and text."""

    ABSENT = (503, "server_error", "upstream_unavailable", "The model's server cannot be reached.")
    NO_KEY = (
        503,
        "server_error",
        "key_not_provisioned",
        "This model needs an API key that has not been provisioned yet.",
    )
    BUSY = (503, "server_error", "overloaded", "The model is overloaded. Try again later.")
    REFUSED = (
        503,
        "server_error",
        "upstream_refused",
        "The model's server does not serve this gateway at present; its operator has to act.",
    )
    LIMITED = (
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        "The gateway's rate limit at the model's server is reached. Try again later.",
    )
    SLOW = (504, "server_error", "upstream_timeout", "The model's server took too long.")
    BROKEN = (502, "server_error", "upstream_failed", "The model's server failed.")
    REJECTED = (
        400,
        INVALID_REQUEST,
        "upstream_rejected",
        "The model's server rejected the request as invalid for this model.",
    )
    TOO_LONG = (
        400,
        INVALID_REQUEST,
        "context_length_exceeded",
        "The request is longer than the model's context. Shorten the messages.",
    )
    FILTERED = (
        400,
        INVALID_REQUEST,
        "content_filter",
        "The model's provider refuses this content. It does not say more than that.",
    )
    TOOL_USE_FAILED = (
        502,
        "server_error",
        "tool_use_failed",
        "The model wrote a tool call that cannot be read. Asking again may help.",
    )
    NOT_SERVED = (
        404,
        INVALID_REQUEST,
        "model_not_served",
        "The model's provider does not serve this model at present. Choose another one.",
    )


class UpstreamError(ChatError):
    """An upstream failed, refused or never answered."""

    def __init__(
        self, failure: Failure, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        status, kind, code, message = failure.value
        fields = () if retry_after is None else ((b"retry-after", b"%d" % retry_after),)
        super().__init__(status, message, kind=kind, param=param, code=code, fields=fields)
        self.failure = failure


def invalid(message: str, param: str | None = None, code: str | None = None) -> ChatError:
    """Return the error for a request that says something wrong."""
    return ChatError(400, message, param=param, code=code)

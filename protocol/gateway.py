"""The gateway: opens a request, awaits what answers it, seals the answer (RFC 9458, Section 5)."""

import enum
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial

from protocol import chunked, encapsulation
from protocol.binary_http import (
    Fields,
    Request,
    Response,
    decode_request,
    encode_response,
    field_value,
)
from protocol.encapsulation import GatewayKey
from protocol.errors import ProtocolError
from protocol.padding import pad

PROBLEM_JSON = b"application/problem+json"
"""The media type of errors without a reason (RFC 9457)."""

DATE_PROBLEM = "https://iana.org/assignments/http-problem-types#date"
"""The request's Date is outside of the window (RFC 9458, Section 6.5.2)."""

KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key"
"""The key configuration is not usable here (RFC 9458, Section 5.3)."""

_UNSPECIFIC = "about:blank"
_BARE_PATH = b"/v1/chat/completions"
_JSON_HEADERS: Fields = ((b"content-type", b"application/json"),)


class Delivery(enum.Enum):
    """How the client takes its answer: the media type that its request came in."""

    WHOLE = enum.auto()
    CHUNKED = enum.auto()


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """A response whose content comes in pieces of any size."""

    status: int
    headers: Fields
    content: AsyncIterator[bytes]


Answer = Response | StreamedResponse
Dispatch = Callable[[Request, Delivery], Awaitable[Answer]]
Admit = Callable[[bytes, int, Request], Response | None]
"""Takes `enc`, the key identifier and the request; a Response refuses it."""
_AdmitOne = Callable[[Request], Response | None]


def problem(status: int, problem_type: str = _UNSPECIFIC) -> Response:
    """Return an error that says no more than its status and type (RFC 9457)."""
    body = json.dumps({"type": problem_type, "status": status}, separators=(",", ":"))
    return Response(status, ((b"content-type", PROBLEM_JSON),), body.encode())


def admit_all(enc: bytes, key_id: int, request: Request) -> Response | None:
    """Refuse nothing."""
    return None


def report_nothing(failure: Exception) -> None:
    """Ignore that dispatch failed; the client learns its status either way."""


class ChunkedExchange:
    """An opened chunked request and the one sealer of its answer."""

    __slots__ = ("_answer", "sealer")

    def __init__(
        self, sealer: chunked.ResponseSealer, answer: Callable[[], Awaitable[Answer]]
    ) -> None:
        self.sealer = sealer
        self._answer = answer

    async def respond(self) -> Answer:
        """Return the answer to seal; a request that is garbage inside has one too."""
        return await self._answer()


class Gateway:
    """Opens requests with the keys of the moment; once open, every outcome is a sealed answer.

    `admit_bare` decides on a plaintext that is a JSON object, not Binary HTTP, and then passes for
    a chat request; without it there is no such dialect.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[GatewayKey]],
        dispatch: Dispatch,
        *,
        admit: Admit = admit_all,
        admit_bare: Admit | None = None,
        report: Callable[[Exception], None] = report_nothing,
    ) -> None:
        self._keys = keys
        self._dispatch = dispatch
        self._admit = admit
        self._admit_bare = admit_bare
        self._report = report

    async def answer(self, data: bytes) -> bytes:
        """Return the encapsulated answer to an encapsulated request.

        ProtocolError only when the request does not open.
        """
        plaintext, context = encapsulation.decapsulate_request(self._keys(), data)
        # No Binary HTTP message begins with a brace: its first byte is a framing indicator.
        if self._admit_bare is not None and plaintext.startswith(b"{"):
            request = Request(b"POST", b"https", b"", _BARE_PATH, _JSON_HEADERS, plaintext)
            admit = partial(self._admit_bare, context.enc, context.key_id)
            response = await self._whole(lambda: request, admit)
            return context.seal_response(response.content)
        admit = partial(self._admit, context.enc, context.key_id)
        response = await self._whole(lambda: _decode_inner(plaintext), admit)
        return context.seal_response(pad(encode_response(response)))

    def open_chunked(self, data: bytes) -> ChunkedExchange:
        """Return the exchange for a chunked request that is complete.

        ProtocolError when it does not open, or ends before its final chunk.
        """
        opener = chunked.decapsulate_request(self._keys())
        pieces = opener.feed(data)
        final, context = opener.finish()
        plaintext = b"".join(pieces) + final

        async def answer() -> Answer:
            admit = partial(self._admit, context.enc, context.key_id)
            return await self._outcome(lambda: _decode_inner(plaintext), admit, Delivery.CHUNKED)

        return ChunkedExchange(context.seal_response(), answer)

    async def _whole(self, decode: Callable[[], Request], admit: _AdmitOne) -> Response:
        answer = await self._outcome(decode, admit, Delivery.WHOLE)
        if isinstance(answer, Response):
            return answer
        try:
            return Response(
                answer.status, answer.headers, b"".join([piece async for piece in answer.content])
            )
        except Exception as failure:
            self._report(failure)
            return problem(500)

    # RFC 9458, Section 5.2: "Errors detected by the Oblivious Gateway Resource after successfully
    # removing encapsulation [...] MUST be sent in an Encapsulated Response."
    async def _outcome(
        self, decode: Callable[[], Request], admit: _AdmitOne, delivery: Delivery
    ) -> Answer:
        try:
            request = decode()
        except ProtocolError:
            return problem(400)
        # RFC 9458, Section 5.1: "the Oblivious Gateway Resource MUST generate an error if a
        # 100-continue expectation is received."
        if field_value(request.headers, b"expect") is not None:
            return problem(417)
        try:
            return admit(request) or await self._dispatch(request, delivery)
        except Exception as failure:
            self._report(failure)
            return problem(500)


def _decode_inner(plaintext: bytes) -> Request:
    request = decode_request(plaintext)
    if all(name.islower() for name, _ in request.headers):
        return request
    headers = tuple((name.lower(), value) for name, value in request.headers)
    return Request(
        request.method,
        request.scheme,
        request.authority,
        request.path,
        headers,
        request.content,
        request.trailers,
    )

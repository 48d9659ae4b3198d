"""The gateway: opens a request, awaits what answers it, seals the answer (RFC 9458, Section 5)."""

import enum
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass

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
from protocol.registry import BLANK_PROBLEM, JSON, PROBLEM_JSON

_BARE_PATH = b"/v1/chat/completions"

STEP_BYTES = 1 << 12
"""Of a chunked request, opened in one step: 230 of the smallest chunks, some two milliseconds."""

LARGE_ANSWER_BYTES = 1 << 18
"""Of a whole answer above this each copy is made in a turn of its own, as those of requests are."""

_JSON_HEADERS: Fields = ((b"content-type", JSON),)


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
Answering = Answer | Awaitable[Answer]
Dispatch = Callable[[Request, Delivery], Answering]
_Context = encapsulation.GatewayContext | chunked.GatewayContext
Aside = Callable[[Callable[[], bytes]], Awaitable[bytes]]
Admit = Callable[[bytes, int, Request], Response | None]
"""Takes `enc`, the key identifier and the request; a Response refuses it."""


def problem(status: int, problem_type: str = BLANK_PROBLEM) -> Response:
    """Return an error that says no more than its status and type (RFC 9457)."""
    body = json.dumps({"type": problem_type, "status": status}, separators=(",", ":"))
    return Response(status, ((b"content-type", PROBLEM_JSON),), body.encode())


def admit_all(enc: bytes, key_id: int, request: Request) -> Response | None:
    """Refuse nothing."""
    return None


def report_nothing(failure: Exception) -> None:
    """Ignore that dispatch failed; the client learns its status either way."""


async def here(work: Callable[[], bytes]) -> bytes:
    """Do at once what may be done aside."""
    return work()


async def settled(answer: Answering) -> Answer:
    """Return an answer that may have to be awaited."""
    return answer if isinstance(answer, Response | StreamedResponse) else await answer


class _Turn:
    """Awaited, it lets others have their turn of the event loop, whichever loop that is."""

    def __await__(self) -> Generator[None, None, None]:
        yield


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
    a chat request; without it there is no such dialect. `aside` does what takes long and touches
    nothing else, in another thread if it likes: it seals large answers.
    """

    def __init__(
        self,
        keys: Callable[[], Sequence[GatewayKey]],
        dispatch: Dispatch,
        *,
        admit: Admit = admit_all,
        admit_bare: Admit | None = None,
        report: Callable[[Exception], None] = report_nothing,
        aside: Aside = here,
    ) -> None:
        self._keys = keys
        self._dispatch = dispatch
        self._admit = admit
        self._admit_bare = admit_bare
        self._report = report
        self._aside = aside

    async def answer(self, data: bytes) -> bytes:
        """Return the encapsulated answer to an encapsulated request.

        ProtocolError only when the request does not open.
        """
        sealed = self.begin(data)
        return sealed if isinstance(sealed, bytes) else await sealed

    def begin(self, data: bytes) -> bytes | Awaitable[bytes]:
        """Do what `answer` does, and return at once what dispatch answers at once."""
        return self._begin(*encapsulation.decapsulate_request(self._keys(), data))

    def begin_in_steps(self, data: bytes) -> Generator[bool, None, bytes | Awaitable[bytes]]:
        """Do what `begin` does; between two steps of a large request others can have their turn.

        True says that the next step is long and can be done in another thread.
        """
        recipient, sealed = encapsulation.accept_request(self._keys(), data)
        yield True
        plaintext = recipient.open(sealed)
        yield False
        return self._begin(plaintext, encapsulation.GatewayContext(data[0], recipient))

    def _begin(
        self, plaintext: bytes, context: encapsulation.GatewayContext
    ) -> bytes | Awaitable[bytes]:
        # No Binary HTTP message begins with a brace: its first byte is a framing indicator.
        if self._admit_bare is not None and plaintext.startswith(b"{"):
            request = Request(b"POST", b"https", b"", _BARE_PATH, _JSON_HEADERS, plaintext)
            answer = self._pass(self._admit_bare, context, request, Delivery.WHOLE)
            return self._seal(context, answer, _padded_json)
        return self._seal(context, self._ask(context, plaintext, Delivery.WHOLE), _padded)

    def open_chunked(self, data: bytes) -> ChunkedExchange:
        """Return the exchange for a chunked request that is complete.

        ProtocolError when it does not open, or ends before its final chunk.
        """
        opener = chunked.decapsulate_request(self._keys())
        pieces = opener.feed(data)
        final, context = opener.finish()
        return self._exchange(b"".join(pieces) + final, context)

    def open_chunked_in_steps(self, data: bytes) -> Generator[bool, None, ChunkedExchange]:
        """Do what `open_chunked` does; between two steps others can have their turn.

        True says that the next step is long and can be done in another thread.
        """
        opener = chunked.decapsulate_request(self._keys())
        pieces: list[bytes] = []
        for start in range(0, len(data), STEP_BYTES):
            piece = data[start : start + STEP_BYTES]
            if opener.is_long(len(piece)):
                yield True
            pieces += opener.feed(piece)
            yield False
        if opener.is_long(0):
            yield True
        final, context = opener.finish()
        yield False
        pieces.append(final)
        return self._exchange(b"".join(pieces), context)

    def _exchange(self, plaintext: bytes, context: chunked.GatewayContext) -> ChunkedExchange:
        async def answer() -> Answer:
            return await self._settle(self._ask(context, plaintext, Delivery.CHUNKED))

        return ChunkedExchange(context.seal_response(), answer)

    def _seal(
        self,
        context: encapsulation.GatewayContext,
        answer: Answering,
        encode: Callable[[Response], bytes],
    ) -> bytes | Awaitable[bytes]:
        if isinstance(answer, Response):
            return context.seal_response(encode(answer))

        async def sealed() -> bytes:
            response = await self._whole(answer)
            if len(response.content) <= LARGE_ANSWER_BYTES:
                return context.seal_response(encode(response))
            await _Turn()
            encoded = encode(response)
            await _Turn()
            return await self._aside(lambda: context.seal_response(encoded))

        return sealed()

    async def _whole(self, answer: Answering) -> Response:
        given = await self._settle(answer)
        if isinstance(given, Response):
            return given
        try:
            content = b"".join([piece async for piece in given.content])
            return Response(given.status, given.headers, content)
        except Exception as failure:
            self._report(failure)
            return problem(500)

    async def _settle(self, answer: Answering) -> Answer:
        try:
            return await settled(answer)
        except Exception as failure:
            self._report(failure)
            return problem(500)

    # RFC 9458, Section 5.2: "Errors detected by the Oblivious Gateway Resource after successfully
    # removing encapsulation [...] MUST be sent in an Encapsulated Response."
    def _ask(self, context: _Context, plaintext: bytes, delivery: Delivery) -> Answering:
        try:
            request = _decode_inner(plaintext)
        except ProtocolError:
            return problem(400)
        # RFC 9458, Section 5.1: "the Oblivious Gateway Resource MUST generate an error if a
        # 100-continue expectation is received."
        if field_value(request.headers, b"expect") is not None:
            return problem(417)
        return self._pass(self._admit, context, request, delivery)

    def _pass(
        self, admit: Admit, context: _Context, request: Request, delivery: Delivery
    ) -> Answering:
        try:
            refusal = admit(context.enc, context.key_id, request)
            return self._dispatch(request, delivery) if refusal is None else refusal
        except Exception as failure:
            self._report(failure)
            return problem(500)


def _padded(response: Response) -> bytes:
    return pad(encode_response(response))


def _padded_json(response: Response) -> bytes:
    # RFC 8259, Section 2: white space after the value means nothing.
    return pad(response.content, b" ")


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

"""One question's way: sealing, the outer request, the opened answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, field
from email.utils import formatdate

import httpx

from oblivious_client.advice import on_refusal, silence
from oblivious_client.endpoint import Role
from oblivious_client.errors import AnswerUnreadable, ExchangeError, OuterRefusal
from oblivious_client.fetching import OUTER_FIELDS, Flow
from oblivious_client.route import Route
from oblivious_client.sealing import AnswerReader, Framing, Sealed, seal
from protocol import strict_json
from protocol.binary_http import Event, Request, ResponseHead
from protocol.errors import KeyRejected, ProtocolError
from protocol.evidence import VerifiedEvidence
from protocol.registry import INCREMENTAL, JSON, KEY_PROBLEM, PROBLEM_JSON, media_type
from protocol.signature import ASKED_FIELD


@dataclass(frozen=True, slots=True)
class Opened:
    """An outer answer on its way, its reader, and the evidence that was relied on."""

    response: httpx.Response
    reader: AnswerReader
    evidence: VerifiedEvidence


@dataclass(slots=True)
class Upload:
    """Whether a sealed request has begun to leave, from when on it may have been answered.

    `copies` is how often it has, sealed to one key after the other.
    """

    begun: bool = False
    copies: int = 0


class SealedBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """The pieces of a sealed request, for either kind of transport."""

    def __init__(self, pieces: Iterable[bytes], upload: Upload) -> None:
        self._pieces = pieces
        self._upload = upload

    def __iter__(self) -> Iterator[bytes]:
        """Yield the pieces."""
        self._upload.begun = True
        self._upload.copies += 1
        yield from self._pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        for piece in self:
            yield piece


def inner_request(
    method: str, path: bytes, body: bytes, *, now: float, authorization: bytes | None = None
) -> Request:
    """Return the request as the enclave sees it.

    Only what is named here goes in: no field of the caller's program, account or machine.
    """
    fields = [(b"date", formatdate(int(now), usegmt=True).encode()), ASKED_FIELD]
    if body:
        fields.insert(0, (b"content-type", JSON))
    if authorization is not None:
        fields.append((b"authorization", authorization))
    return Request(method.encode(), b"https", b"", path, tuple(fields), body)


@dataclass(frozen=True, slots=True)
class Question:
    """A request to be sealed, and how long its sending may take; `authorization` pays for it."""

    method: str
    path: bytes
    body: bytes = field(repr=False)
    extensions: dict[str, object]
    upload: Upload = field(default_factory=Upload)
    authorization: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class KeyUnknown:
    """The gateway does not know the key that a request was sealed to, and has processed nothing."""

    response: httpx.Response

    @property
    def is_key_due(self) -> bool:
        """Whether there will soon be another key: a front that lost an enclave says when to ask."""
        return "retry-after" in self.response.headers


def ask(
    route: Route, question: Question, evidence: VerifiedEvidence, *, now: float
) -> Flow[Opened | KeyUnknown]:
    """Send one request sealed to the keys in `evidence`; raises OuterRefusal."""
    inner = inner_request(
        question.method,
        question.path,
        question.body,
        now=now,
        authorization=question.authorization,
    )
    try:
        sealed = seal(evidence.sealing_config, inner, route.framing)
    except KeyRejected as error:
        raise ExchangeError(
            "the gateway's newest key is none that this client can seal to",
            advice="update the client, and the package `cryptography` with it",
        ) from error
    response = yield outer_request(route, sealed, question)
    if is_key_rejected(response):
        return KeyUnknown(response)
    if not is_sealed(response):
        raise refusal(response, route.endpoint.role)
    if content_type(response) != route.framing.response_type:
        raise AnswerUnreadable("the answer is framed otherwise than the request")
    return Opened(response, sealed.reader, evidence)


def outer_request(route: Route, sealed: Sealed, question: Question) -> httpx.Request:
    """Return the request that relay and gateway see: the same fields for everybody."""
    url, framing = route.endpoint.resource, route.framing
    fields = [
        ("Host", url.netloc.decode("ascii")),
        *OUTER_FIELDS,
        ("Accept", framing.response_type),
        ("Content-Type", framing.request_type),
    ]
    pieces: Iterable[bytes] = sealed.pieces
    if framing is Framing.WHOLE:
        pieces = list(pieces)
        fields.append(("Content-Length", str(sum(map(len, pieces)))))
    else:
        fields += [("Incremental", INCREMENTAL.decode()), ("Transfer-Encoding", "chunked")]
    stream = SealedBody(pieces, question.upload)
    return httpx.Request("POST", url, headers=fields, stream=stream, extensions=question.extensions)


def is_sealed(response: httpx.Response) -> bool:
    """Whether the body is a sealed answer; anything else is read as a small error."""
    types = {framing.response_type for framing in Framing}
    return response.status_code == httpx.codes.OK and content_type(response) in types


def is_key_rejected(response: httpx.Response) -> bool:
    """Whether the gateway says that it has no key for this request (RFC 9458, Section 5.3).

    The problem type says so, not the status: our gateway answers 422, others 400.
    """
    if not response.is_client_error:
        return False
    if content_type(response) != PROBLEM_JSON.decode():
        return False
    try:
        return strict_json.decode_object(response.content).get("type") == KEY_PROBLEM
    except ProtocolError:
        return False


def content_type(response: httpx.Response) -> str:
    """Return the media type without parameters."""
    value: str = response.headers.get("content-type", "")
    return media_type(value.encode("ascii", "replace")).decode()


def refusal(response: httpx.Response, role: Role) -> OuterRefusal:
    """Return the error for an answer that is not sealed; its text is not ours to repeat."""
    status = response.status_code
    if status == httpx.codes.OK:
        said = "something that is not a sealed answer"
    else:
        said = f"{status} {response.reason_phrase}".strip()
    return OuterRefusal(
        f"{response.request.url} answered {said}",
        status=status,
        advice=on_refusal(response, role),
        is_silence=silence(response, role) is not None,
    )


def head_in(events: list[Event]) -> ResponseHead | None:
    """Return the head of the final response among `events`; informational ones are skipped."""
    return next((event for event in events if isinstance(event, ResponseHead)), None)


def content_in(events: list[Event]) -> bytes:
    """Return the content among `events`."""
    return b"".join(event for event in events if isinstance(event, bytes))

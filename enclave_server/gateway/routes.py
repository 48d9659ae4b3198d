"""The resources of outer HTTP: what a relay can ask for, and what it gets.

What is sealed passes through unread; nothing in an answer's head depends on it.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Protocol, TypeVar

from enclave_server.gateway.standing import Ownership, Standing
from enclave_server.gateway.steps import Stepping
from enclave_server.http import problems
from enclave_server.http.messages import Headers, OuterRequest, OuterResponse, Router
from enclave_server.keys.ring import KeySet
from enclave_server.security_module.nsm import NsmError
from protocol.errors import KeyRejected, ProtocolError
from protocol.evidence import Evidence
from protocol.gateway import ChunkedExchange, Gateway
from protocol.padding import bucket
from protocol.registry import (
    CHUNKED_OHTTP_REQUEST,
    CHUNKED_OHTTP_RESPONSE,
    INCREMENTAL,
    JSON,
    OHTTP_GATEWAY_PATH,
    OHTTP_KEYS,
    OHTTP_REQUEST,
    OHTTP_RESPONSE,
)

# Looked up once: members of HTTPStatus are properties until Python 3.12.
_OK = int(HTTPStatus.OK)
_SEALED_FIELDS = ((b"content-type", OHTTP_RESPONSE),)

# 8 to 64 octets: long enough not to be guessed, and far from the 512 that AWS's texts allow.
_NONCE = re.compile(rb"nonce=((?:[0-9a-fA-F]{2}){8,64})")

# Opened in steps above this. Below, it takes half a millisecond at the most.
LARGE_BYTES = 64 * 1024

# For the answer to a large request to begin. To read the worst costs 60 nanoseconds an octet, as
# far as those reach that can be values of their own, and 15 beyond; a busy machine has the rest.
READING_SECONDS = 0.05
VALUED_OCTETS = 1 << 20
READING_SECONDS_PER_VALUED_OCTET = 250e-9
READING_SECONDS_PER_OCTET = 40e-9

# What to wait for another document: the rate is per second.
ATTESTATION_RETRY_SECONDS = 1


class TooOften(Exception):
    """Documents for nonces are asked for faster than the security module should make them."""


class ServingState(Protocol):
    """What a worker serves with at the moment."""

    def ready(self) -> bool:
        """Return whether all models can be asked."""
        ...

    def keyset(self) -> KeySet:
        """Return the keys and the evidence of this moment, which belong together."""
        ...

    def fresh_document(self, nonce: bytes) -> Evidence:
        """Return evidence made for `nonce`; raise TooOften or NsmError."""
        ...


class Pacer(Protocol):
    """Seals an answer in pieces, at times of its own."""

    def __call__(self, exchange: ChunkedExchange, begins: float = 0.0) -> AsyncIterator[bytes]:
        """Yield the pieces, the first not before the event loop's clock says `begins`."""
        ...


@dataclass(frozen=True, slots=True)
class Service:
    """What the answers are made of."""

    state: ServingState
    gateway: Gateway
    pacer: Pacer
    now: Callable[[], float]
    stepping: Stepping
    standing: Callable[[], Standing] | None = None


Opened = TypeVar("Opened")
Answer = Callable[[Service, OuterRequest], OuterResponse | Awaitable[OuterResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One resource and method: its name in the log, and what it takes and gives."""

    name: str
    answer: Answer | None = None  # whatever the content is
    by_media_type: Mapping[bytes, Answer] = field(default_factory=dict)  # of content
    query: re.Pattern[bytes] = re.compile(rb"")  # what the whole query must match


Routes = Mapping[bytes, Mapping[bytes, Route]]
"""By path, and then by method."""


def make_router(
    state: ServingState,
    gateway: Gateway,
    pacer: Pacer,
    now: Callable[[], float] = time.time,
    standing: Callable[[], Standing] | None = None,
) -> Router:
    """Return what routes requests to answers for `state` and `gateway`.

    The head alone decides about a refusal, so that nobody uploads for nothing. In a cluster
    `standing` says which requests are this enclave's.
    """
    service = Service(state, gateway, pacer, now, Stepping(), standing)
    sells = state.keyset().evidence.token_catalogue is not None
    routes = _ROUTES if standing is None else _ROUTES_OF_MEMBERS
    routes = {**routes, b"/v1/tokens": _TOKENS} if sells else routes

    def route(
        request: OuterRequest,
    ) -> partial[OuterResponse | Awaitable[OuterResponse]] | OuterResponse:
        found = _find(routes, request)
        return found if isinstance(found, OuterResponse) else partial(found, service)

    return route


def _find(routes: Routes, request: OuterRequest) -> Answer | OuterResponse:
    methods = routes.get(request.path)
    if methods is None:
        return problems.problem(HTTPStatus.NOT_FOUND)
    route = methods.get(request.method)
    if route is None:
        # RFC 9110, Section 15.5.6: the origin server MUST generate an Allow field.
        allow = ((b"allow", b", ".join(methods)),)
        return problems.problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
    answer = route.answer or route.by_media_type.get(_media_type(request))
    if answer is None:
        return problems.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, route=route.name)
    if request.query and route.query.fullmatch(request.query) is None:
        return problems.problem(HTTPStatus.BAD_REQUEST, route=route.name)
    return answer


def _media_type(request: OuterRequest) -> bytes:
    """Return the media type of uncoded content in lower case; ours have no parameters."""
    values = request.fields(b"content-type")
    coded = request.fields(b"content-encoding")
    return values[0].lower() if len(values) == 1 and not coded else b""


def _answer_sealed(
    service: Service, request: OuterRequest
) -> OuterResponse | Awaitable[OuterResponse]:
    refusal = _misdirected(service, request, "ohttp")
    if refusal is not None:
        return refusal
    if len(request.body) > LARGE_BYTES:
        steps = service.gateway.begin_in_steps(request.body)
        return _answer_large_sealed(service, _still_ours(service, request, "ohttp", steps))
    try:
        sealed = service.gateway.begin(request.body)
    except ProtocolError as error:
        return _not_opened(error, "ohttp")
    return _sealed(sealed) if isinstance(sealed, bytes) else _sealed_later(sealed)


def _sealed(body: bytes) -> OuterResponse:
    return OuterResponse(_OK, _SEALED_FIELDS, body, "ohttp")


async def _answer_large_sealed(
    service: Service, steps: Generator[bool, None, bytes | Awaitable[bytes] | OuterResponse]
) -> OuterResponse:
    try:
        sealed = await service.stepping.take(steps)
    except ProtocolError as error:
        return _not_opened(error, "ohttp")
    if isinstance(sealed, OuterResponse):
        return sealed
    return _sealed(sealed if isinstance(sealed, bytes) else await sealed)


async def _sealed_later(body: Awaitable[bytes]) -> OuterResponse:
    return _sealed(await body)


def _answer_chunked(
    service: Service, request: OuterRequest
) -> OuterResponse | Awaitable[OuterResponse]:
    refusal = _misdirected(service, request, "ohttp_chunked")
    if refusal is not None:
        return refusal
    if (size := len(request.body)) > LARGE_BYTES:
        steps = service.gateway.open_chunked_in_steps(request.body)
        ours = _still_ours(service, request, "ohttp_chunked", steps)
        return _answer_large_chunked(service, ours, size)
    try:
        exchange = service.gateway.open_chunked(request.body)
    except ProtocolError as error:
        return _not_opened(error, "ohttp_chunked")
    return _streamed(service.pacer(exchange))


async def _answer_large_chunked(
    service: Service, steps: Generator[bool, None, ChunkedExchange | OuterResponse], size: int
) -> OuterResponse:
    begins = asyncio.get_running_loop().time() + reading_seconds(size)
    try:
        exchange = await service.stepping.take(steps)
    except ProtocolError as error:
        return _not_opened(error, "ohttp_chunked")
    if isinstance(exchange, OuterResponse):
        return exchange
    return _streamed(service.pacer(exchange, begins))


def _streamed(pieces: AsyncIterator[bytes]) -> OuterResponse:
    headers = ((b"content-type", CHUNKED_OHTTP_RESPONSE), (b"incremental", INCREMENTAL))
    return OuterResponse(HTTPStatus.OK, headers, pieces, "ohttp_chunked")


def reading_seconds(size: int) -> float:
    """Return what opening and reading any request of `size` sealed octets takes at the most.

    It depends on the size alone, which shows, rounded up to where padding would bring it.
    """
    size = bucket(size)
    valued = min(size, VALUED_OCTETS) * READING_SECONDS_PER_VALUED_OCTET
    return READING_SECONDS + valued + size * READING_SECONDS_PER_OCTET


def _misdirected(service: Service, request: OuterRequest, route: str) -> OuterResponse | None:
    """Return the refusal of a request that this enclave may not open, before it opens anything."""
    if service.standing is None:
        return None
    match service.standing().of(request.body):
        case Ownership.OWN:
            return None
        case Ownership.OTHERS:
            return problems.problem(HTTPStatus.MISDIRECTED_REQUEST, route=route)
        case Ownership.NOBODYS:
            # To a client it is a key that is gone: it fetches the next one and asks once more.
            return problems.key_rejected(route)


def _still_ours(
    service: Service, request: OuterRequest, route: str, steps: Generator[bool, None, Opened]
) -> Generator[bool, None, Opened | OuterResponse]:
    """Open in steps what is this enclave's when its turn comes; else return the refusal.

    It may have waited, and another key may have the identifier since, with other owners. The first
    of `steps` takes the keys, in the same turn of the loop as this looks.
    """
    refusal = _misdirected(service, request, route)
    if refusal is not None:
        return refusal
    return (yield from steps)


def _not_opened(error: ProtocolError, route: str) -> OuterResponse:
    if isinstance(error, KeyRejected):
        return problems.key_rejected(route)
    return problems.problem(HTTPStatus.BAD_REQUEST, route=route)


def _answer_keys(service: Service, request: OuterRequest) -> OuterResponse:
    keys = service.state.keyset()
    return OuterResponse(HTTPStatus.OK, _cached(OHTTP_KEYS, keys, service), keys.ohttp_keys, "keys")


def _answer_attestation(service: Service, request: OuterRequest) -> OuterResponse:
    match = _NONCE.fullmatch(request.query)
    if match is not None:
        return _answer_nonce(service, bytes.fromhex(match[1].decode("ascii")))
    keys = service.state.keyset()
    headers = _cached(JSON, keys, service)
    return OuterResponse(HTTPStatus.OK, headers, keys.evidence.encode(), "attestation")


def _answer_nonce(service: Service, nonce: bytes) -> OuterResponse:
    name = "attestation_nonce"
    try:
        evidence = service.state.fresh_document(nonce)
    except (TooOften, NsmError):
        return problems.unavailable(ATTESTATION_RETRY_SECONDS, route=name)
    headers = ((b"content-type", JSON), (b"cache-control", b"no-store"))
    return OuterResponse(HTTPStatus.OK, headers, evidence.encode(), name)


def _answer_signing_key(service: Service, request: OuterRequest) -> OuterResponse:
    keys = service.state.keyset()
    members = {"public_key": keys.evidence.signing_key_pem.decode("ascii"), "tee_id": keys.tee_id}
    body = json.dumps(members, separators=(",", ":")).encode()
    return OuterResponse(HTTPStatus.OK, _cached(JSON, keys, service), body, "signing_key")


def _answer_tokens(service: Service, request: OuterRequest) -> OuterResponse:
    keys = service.state.keyset()
    catalogue = keys.evidence.token_catalogue or b""
    return OuterResponse(HTTPStatus.OK, _cached(JSON, keys, service), catalogue, "tokens")


def _answer_health(service: Service, request: OuterRequest) -> OuterResponse:
    # Not whether a model answers: an engine may have ended because of what it was asked.
    headers = ((b"content-type", JSON), (b"cache-control", b"no-store"))
    return OuterResponse(HTTPStatus.OK, headers, b'{"status":"ok"}', "health")


def _answer_ready(service: Service, request: OuterRequest) -> OuterResponse:
    # Whether, and not why: a balancer takes an enclave out, and nobody learns more.
    ready = service.state.ready()
    status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
    body = b'{"status":"ready"}' if ready else b'{"status":"not ready"}'
    headers = ((b"content-type", JSON), (b"cache-control", b"no-store"))
    return OuterResponse(status, headers, body, "ready")


def _answer_cluster(service: Service, request: OuterRequest) -> OuterResponse:
    headers = ((b"content-type", JSON), (b"cache-control", b"no-store"))
    statement = b"" if service.standing is None else service.standing().statement
    return OuterResponse(HTTPStatus.OK, headers, statement, "cluster")


def _cached(media_type: bytes, keys: KeySet, service: Service) -> Headers:
    """Return fields that let caches keep an answer until keys or evidence expire, not longer."""
    seconds = max(0, int(keys.expires - service.now()))
    return ((b"content-type", media_type), (b"cache-control", b"max-age=%d" % seconds))


_SEALED = Route(
    "ohttp", by_media_type={OHTTP_REQUEST: _answer_sealed, CHUNKED_OHTTP_REQUEST: _answer_chunked}
)


def _fetched(route: Route) -> dict[bytes, Route]:
    # RFC 9110, Section 9.1: all general-purpose servers MUST support GET and HEAD.
    return {b"GET": route, b"HEAD": route}


_KEYS = _fetched(Route("keys", _answer_keys))

_TOKENS = _fetched(Route("tokens", _answer_tokens))

_ROUTES: Routes = {
    b"/v1/ohttp": {b"POST": _SEALED},
    OHTTP_GATEWAY_PATH: {**_KEYS, b"POST": _SEALED},
    b"/v1/ohttp/config": _KEYS,
    b"/v1/attestation": _fetched(Route("attestation", _answer_attestation, query=_NONCE)),
    b"/signing-key": _fetched(Route("signing_key", _answer_signing_key)),
    b"/health": _fetched(Route("health", _answer_health)),
    b"/ready": _fetched(Route("ready", _answer_ready)),
}

_ROUTES_OF_MEMBERS: Routes = {
    **_ROUTES,
    b"/v1/cluster": _fetched(Route("cluster", _answer_cluster)),
}

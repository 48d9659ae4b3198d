"""The resources of outer HTTP: what a relay can ask for, and what it gets.

What is sealed passes through unread; nothing in an answer's head depends on it.
"""

import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from enclave_server import problems
from enclave_server.keys import KeySet
from enclave_server.nsm import NsmError
from enclave_server.outer import Handler, Headers, OuterRequest, OuterResponse
from protocol.errors import KeyRejected, ProtocolError
from protocol.evidence import Evidence
from protocol.gateway import ChunkedExchange, Gateway

REQUEST = b"message/ohttp-req"
RESPONSE = b"message/ohttp-res"
CHUNKED_REQUEST = b"message/ohttp-chunked-req"
CHUNKED_RESPONSE = b"message/ohttp-chunked-res"
KEYS = b"application/ohttp-keys"
JSON = b"application/json"

# 8 to 64 octets: long enough not to be guessed, and AWS's module takes 512 at most.
_NONCE = re.compile(rb"nonce=((?:[0-9a-fA-F]{2}){8,64})")

# What to wait for another document: the rate is per second.
ATTESTATION_RETRY_SECONDS = 1


class TooOften(Exception):
    """Documents for nonces are asked for faster than the security module should make them."""


class ServingState(Protocol):
    """What a worker serves with at the moment."""

    def keyset(self) -> KeySet:
        """Return the keys and the evidence of this moment, which belong together."""
        ...

    def fresh_document(self, nonce: bytes) -> Evidence:
        """Return evidence made for `nonce`; raise TooOften or NsmError."""
        ...


# Seals an answer in pieces, at times of its own.
Pacer = Callable[[ChunkedExchange], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Service:
    """What the answers are made of."""

    state: ServingState
    gateway: Gateway
    pacer: Pacer
    now: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Route:
    """One resource and method: its name in the log, and what it takes and gives."""

    name: str
    answer: Callable[[Service, OuterRequest], Awaitable[OuterResponse]]
    media_types: frozenset[bytes] = frozenset()  # of content that must be there
    query: re.Pattern[bytes] = re.compile(rb"")  # what the whole query must match


def make_handler(
    state: ServingState, gateway: Gateway, pacer: Pacer, now: Callable[[], float] = time.time
) -> Handler:
    """Return the handler that answers for `state` and `gateway`."""
    service = Service(state, gateway, pacer, now)

    async def handle(request: OuterRequest) -> OuterResponse:
        found = _find(request)
        if isinstance(found, OuterResponse):
            return found
        return await found.answer(service, request)

    return handle


def screen(request: OuterRequest) -> OuterResponse | None:
    """Return the refusal that the head alone decides, so that nobody uploads for nothing."""
    found = _find(request)
    return found if isinstance(found, OuterResponse) else None


def _find(request: OuterRequest) -> Route | OuterResponse:
    methods = _ROUTES.get(request.path)
    if methods is None:
        return problems.problem(HTTPStatus.NOT_FOUND)
    route = methods.get(request.method)
    if route is None:
        # RFC 9110, Section 15.5.6: the origin server MUST generate an Allow field.
        allow = ((b"allow", b", ".join(methods)),)
        return problems.problem(HTTPStatus.METHOD_NOT_ALLOWED, headers=allow)
    if route.media_types and not _is_acceptable(request, route):
        return problems.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, route=route.name)
    if request.query and route.query.fullmatch(request.query) is None:
        return problems.problem(HTTPStatus.BAD_REQUEST, route=route.name)
    return route


def _is_acceptable(request: OuterRequest, route: Route) -> bool:
    """Whether the content has one media type that is wanted, and no content coding."""
    media_type = _media_type(request)
    return media_type in route.media_types and not request.fields(b"content-encoding")


def _media_type(request: OuterRequest) -> bytes:
    """Return the media type in lower case; ours have no parameters."""
    values = request.fields(b"content-type")
    return values[0].lower() if len(values) == 1 else b""


async def _answer_sealed(service: Service, request: OuterRequest) -> OuterResponse:
    chunked = _media_type(request) == CHUNKED_REQUEST
    name = "ohttp_chunked" if chunked else "ohttp"
    try:
        if chunked:
            return _answer_chunked(service, request, name)
        body = await service.gateway.answer(request.body)
    except KeyRejected:
        return problems.key_rejected(name)
    except ProtocolError:
        return problems.problem(HTTPStatus.BAD_REQUEST, route=name)
    return OuterResponse(HTTPStatus.OK, ((b"content-type", RESPONSE),), body, name)


def _answer_chunked(service: Service, request: OuterRequest, name: str) -> OuterResponse:
    exchange = service.gateway.open_chunked(request.body)
    headers = ((b"content-type", CHUNKED_RESPONSE), (b"incremental", b"?1"))
    return OuterResponse(HTTPStatus.OK, headers, service.pacer(exchange), name)


async def _answer_keys(service: Service, request: OuterRequest) -> OuterResponse:
    keys = service.state.keyset()
    return OuterResponse(HTTPStatus.OK, _cached(KEYS, keys, service), keys.ohttp_keys, "keys")


async def _answer_attestation(service: Service, request: OuterRequest) -> OuterResponse:
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


async def _answer_signing_key(service: Service, request: OuterRequest) -> OuterResponse:
    keys = service.state.keyset()
    members = {"public_key": keys.evidence.signing_key_pem.decode("ascii"), "tee_id": keys.tee_id}
    body = json.dumps(members, separators=(",", ":")).encode()
    return OuterResponse(HTTPStatus.OK, _cached(JSON, keys, service), body, "signing_key")


async def _answer_health(service: Service, request: OuterRequest) -> OuterResponse:
    # Not whether a model answers: an engine may have ended because of what it was asked.
    headers = ((b"content-type", JSON), (b"cache-control", b"no-store"))
    return OuterResponse(HTTPStatus.OK, headers, b'{"status":"ok"}', "health")


def _cached(media_type: bytes, keys: KeySet, service: Service) -> Headers:
    """Return fields that let caches keep an answer until keys or evidence expire, not longer."""
    seconds = max(0, int(keys.expires - service.now()))
    return ((b"content-type", media_type), (b"cache-control", b"max-age=%d" % seconds))


_SEALED = Route("ohttp", _answer_sealed, frozenset({REQUEST, CHUNKED_REQUEST}))
_KEYS = Route("keys", _answer_keys)

_ROUTES = {
    b"/v1/ohttp": {b"POST": _SEALED},
    b"/.well-known/ohttp-gateway": {b"GET": _KEYS, b"POST": _SEALED},
    b"/v1/ohttp/config": {b"GET": _KEYS},
    b"/v1/attestation": {b"GET": Route("attestation", _answer_attestation, query=_NONCE)},
    b"/signing-key": {b"GET": Route("signing_key", _answer_signing_key)},
    b"/health": {b"GET": Route("health", _answer_health)},
}

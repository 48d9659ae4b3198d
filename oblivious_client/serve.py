"""A local OpenAI-compatible endpoint: any OpenAI program becomes oblivious by its base URL.

It speaks clear text, so it listens on this machine alone, and it answers programs of this
machine alone: a page in the browser from elsewhere can neither ask through it nor read it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
from collections.abc import AsyncGenerator, Callable
from importlib import resources
from typing import Any

import httpx

from oblivious_client.answers import check_embeddings, check_signature, parse_object
from oblivious_client.blocks import answer_in
from oblivious_client.client import TIMEOUT, evidence_of
from oblivious_client.endpoint import is_loopback
from oblivious_client.errors import ClientError
from oblivious_client.exchange import Upload, content_type
from oblivious_client.local_http import Fields, LocalRequest, LocalResponse, serve_connection
from oblivious_client.passing import PassedBlocks, PassedChat, PassedItems, Passing, error_object
from oblivious_client.references import References
from oblivious_client.report import as_json
from oblivious_client.transport import UPLOAD, AsyncObliviousTransport
from protocol.registry import EVENT_STREAM, JSON

# Each takes two descriptors, of the 1,024 that a program usually has.
MAX_CONNECTIONS = 400
# Above them: so many are told to come back, and more than that find nobody.
MAX_REFUSALS = 32
_PASSED: dict[str, Callable[[], Passing]] = {
    "/v1/chat/completions": PassedChat,
    "/v1/completions": PassedChat,
    "/v1/responses": PassedItems,
    "/v1/messages": PassedBlocks,
}
# Reads a whole answer, so that its signature can be checked.
_READ: dict[str, Callable[[bytes], dict[str, Any]]] = {"/v1/messages": answer_in}
# Checks the signature of a whole answer that is no chat.
_PROVE = {"/v1/embeddings": check_embeddings}
ASKED = (*_PASSED, *_PROVE)
_ROUTES = {
    **dict.fromkeys((*ASKED, "/v1/messages/count_tokens"), "POST"),
    **dict.fromkeys(("/v1/models", "/", "/evidence"), "GET"),
}
_ONE_MODEL = "/v1/models/"
_JSON: Fields = ((b"content-type", JSON), (b"cache-control", b"no-store"))
_EVENTS: Fields = (
    (b"content-type", EVENT_STREAM + b"; charset=utf-8"),
    (b"cache-control", b"no-store"),
)
_ONCE: Fields = ((b"x-should-retry", b"false"),)  # which OpenAI's SDKs heed
_COME_BACK: Fields = ((b"retry-after", b"1"), (b"connection", b"close"))


def page() -> LocalResponse:
    """Return the page; nothing but its own script and style can run in it."""
    html = resources.files("oblivious_client").joinpath("page.html").read_bytes()
    script, style = (_inline_hash(html, tag) for tag in (b"script", b"style"))
    policy = (
        f"default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    fields = (
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-store"),
    )
    return LocalResponse(200, fields, html)


def _inline_hash(html: bytes, tag: bytes) -> str:
    content = html.partition(b"<" + tag + b">")[2].partition(b"</" + tag + b">")[0]
    return "sha256-" + base64.b64encode(hashlib.sha256(content).digest()).decode()


def refused_origin(request: LocalRequest) -> str | None:
    """Return why a request may not come from a program of this machine, or None.

    A name that an attacker makes resolve to this machine (DNS rebinding) shows in Host; a page
    of another site shows in Origin or Sec-Fetch-Site, which browsers set and scripts cannot.
    """
    for name in (b"host", b"origin", b"sec-fetch-site"):
        if request.count(name) > 1:  # of which another reader might take the other
            return f"the request has more than one {name.decode()}"
    host = request.field(b"host")
    if host is None or not is_loopback(_host_name(host)):
        return "the Host is not this machine"
    origin = request.field(b"origin")
    if origin is not None and origin != f"http://{host}":
        return "the request comes from another site"
    if request.field(b"sec-fetch-site") not in (None, "same-origin", "none"):
        return "the request comes from another site"
    return None


def _host_name(host: str) -> str:
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-f:.]+)\]|(?P<name>[^:\[\]]+))(?::[0-9]{1,5})?", host)
    return "" if match is None else match["six"] or match["name"].lower()


def error(status: int, message: str, kind: str, more: Fields = ()) -> LocalResponse:
    """Return OpenAI's error object."""
    return LocalResponse(status, (*_JSON, *more), error_object(message, kind))


def describe(failure: ClientError) -> str:
    """Return what happened and what to do; the reader is the user of this machine."""
    return ": ".join(part for part in (str(failure).removesuffix("."), failure.advice) if part)


class LocalEndpoint:
    """Seals what local programs ask and opens what comes back."""

    def __init__(
        self,
        transport: AsyncObliviousTransport,
        most: int = MAX_CONNECTIONS,
        refusals: int = MAX_REFUSALS,
    ) -> None:
        self._transport, self._references = transport, References()
        self.most, self.refusals = most, refusals
        self.connections = 0
        """How many programs are connected."""

    async def handle(self, request: LocalRequest) -> LocalResponse:
        """Answer one request of a local program."""
        if self.connections > self.most:
            return error(503, "too many programs at once", "oblivious_client_error", _COME_BACK)
        reason = refused_origin(request)
        if reason is not None:
            return error(403, reason, "permission_error")
        method = "GET" if request.path.startswith(_ONE_MODEL) else _ROUTES.get(request.path)
        if method is None:
            return error(404, f"there is nothing at {request.path}", "not_found_error")
        if request.method != method:
            return error(405, f"{request.path} takes {method}", "invalid_request_error")
        upload = Upload()
        try:
            return await self._routed(request, upload)
        except ClientError as failure:
            # Asked again by itself, an SDK would have the question answered, and paid for, twice.
            said = _ONCE if upload.begun and request.path in ASKED else ()
            return error(502, describe(failure), "oblivious_client_error", said)

    async def _routed(self, request: LocalRequest, upload: Upload) -> LocalResponse:
        if request.path == "/":
            return page()
        if request.path == "/evidence":
            return await self._evidence()
        return await self._ask(request, upload)

    async def _evidence(self) -> LocalResponse:
        source = self._transport.source
        verified = await self._transport.evidence()
        report = as_json(verified, source.policy, source.route.endpoint, now=source.clock())
        return LocalResponse(200, _JSON, json.dumps(report).encode())

    async def _ask(self, request: LocalRequest, upload: Upload) -> LocalResponse:
        body = self._references.resolve(request.body)
        # The host is never sent: the enclave sees method, path and body.
        outer = httpx.Request(
            request.method,
            f"https://sealed.invalid{request.path}",
            content=body,
            extensions={"timeout": TIMEOUT.as_dict(), UPLOAD: upload},
        )
        response = await self._transport.handle_async_request(outer)
        if (
            response.status_code == httpx.codes.OK
            and request.path in _PASSED
            and content_type(response) == EVENT_STREAM.decode()
        ):
            passing = _PASSED[request.path]()
            events = _checked_stream(body, response, passing, self._references)
            return LocalResponse(200, _EVENTS, events)
        try:
            data = await response.aread()
        finally:
            await response.aclose()
        if response.status_code == httpx.codes.OK and request.path in ASKED:
            read = _READ.get(request.path, parse_object)
            check = _PROVE.get(request.path, check_signature)
            check(evidence_of(response), body, answer := read(data))
            self._references.keep(answer)
        return LocalResponse(response.status_code, _passed(response), data)


def _passed(response: httpx.Response) -> Fields:
    """Return the fields that an SDK acts on."""
    retry = response.headers.get("retry-after")
    return _JSON if retry is None else (*_JSON, (b"retry-after", retry.encode("ascii")))


async def _checked_stream(
    request: bytes, response: httpx.Response, passing: Passing, references: References
) -> AsyncGenerator[bytes, None]:
    """Yield the events without the padding; the end only after the signature has verified.

    A failure becomes an error event, and then the connection breaks: no program can take
    what came before for the whole.
    """
    try:
        async for data in response.aiter_bytes():
            if events := passing.take(data):
                yield events
        check_signature(evidence_of(response), request, answer := passing.finish())
        references.keep(answer)
        yield passing.end()
    except ClientError as failure:
        yield passing.fail(describe(failure))
        raise ConnectionAbortedError from failure
    finally:
        await response.aclose()


async def start(endpoint: LocalEndpoint, host: str, port: int) -> asyncio.Server:
    """Listen; raises OSError if the address is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if endpoint.connections >= endpoint.most + endpoint.refusals:
            writer.transport.abort()
            return
        endpoint.connections += 1
        try:
            await serve_connection(endpoint.handle, reader, writer)
        except asyncio.CancelledError:
            return  # the program ends; nobody awaits this task to learn that it was cancelled
        finally:
            endpoint.connections -= 1

    # So many are accepted at once before any of them is counted.
    server = await asyncio.start_server(serve, host, port, backlog=endpoint.refusals)
    for bound in server.sockets:
        with socket.socket(fileno=os.dup(bound.fileno())) as listener:
            listener.listen(MAX_CONNECTIONS)  # more may wait: those sent away try again in a second
    return server

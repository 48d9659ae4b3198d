"""The connections to relay or gateway: httpcore's, watched so that nobody can keep us waiting.

A timeout of httpx is for one read, so whoever sends an octet now and then, or interim responses
(RFC 9110, Section 15.2), is never late. Here a request can have a deadline for all of it, and the
interim responses before the final one are counted.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpcore
import httpx

from oblivious_client import trust
from oblivious_client.route import Route

DEADLINE = "oblivious_deadline"
"""The extension of a request: when all of its response has to be there, on the monotonic clock."""

BODY_LIMIT = "oblivious_body_limit"
"""The extension of a request: the most octets that an answer in the clear may have."""

MAX_INTERIM_RESPONSES = 16
"""Before the final one; nobody on the way has more to say than a few."""

_KEPT_CONNECTIONS = 20
_KEPT_SECONDS = 5.0
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_INTERIM = (b"HTTP/1.1 1", b"HTTP/1.0 1")
_FAULTS = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


class _Watch:
    """What is watched of one request: its deadline, and the heads before its final response."""

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self.begin()

    def begin(self) -> None:
        """Wait for a head: at first, and after a proxy has opened a tunnel."""
        self._unread = b""
        self._is_awaited = True
        self._interim = 0

    def within(self, timeout: float | None) -> float | None:
        """Return for how long the next step may take; raises ReadTimeout if there is no time."""
        if self._deadline is None:
            return timeout
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the whole took too long")
        return left if timeout is None else min(left, timeout)

    def saw(self, data: bytes) -> None:
        """Count the interim responses; raises RemoteProtocolError for one too many."""
        if not self._is_awaited:
            return
        *heads, self._unread = _BLANK_LINE.split(self._unread + data)
        for head in heads:
            if not head.lstrip().startswith(_INTERIM):
                self._is_awaited, self._unread = False, b""
                return
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise httpcore.RemoteProtocolError("interim responses without end")


_WATCH: ContextVar[_Watch] = ContextVar("watch")


@contextmanager
def watching(request: httpx.Request) -> Iterator[None]:
    """Watch what is sent and read for `request` until the end of the block."""
    token = _WATCH.set(_Watch(request.extensions.get(DEADLINE)))
    try:
        yield
    finally:
        _WATCH.reset(token)


def _within(timeout: float | None) -> float | None:
    watch = _WATCH.get(None)
    return timeout if watch is None else watch.within(timeout)


def _saw(data: bytes) -> bytes:
    watch = _WATCH.get(None)
    if watch is not None:
        watch.saw(data)
    return data


def _begin() -> None:
    watch = _WATCH.get(None)
    if watch is not None:
        watch.begin()


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return _saw(self._stream.read(max_bytes, _within(timeout)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _within(timeout))
        _begin()
        return _Stream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return _saw(await self._stream.read(max_bytes, _within(timeout)))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, _within(timeout))

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._stream.start_tls(ssl_context, server_hostname, _within(timeout))
        _begin()
        return _AsyncStream(stream)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


Options = Iterable[Any] | None


class _Network(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Options = None,
    ) -> httpcore.NetworkStream:
        within = _within(timeout)
        return _Stream(super().connect_tcp(host, port, within, local_address, socket_options))

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Options = None
    ) -> httpcore.NetworkStream:
        return _Stream(super().connect_unix_socket(path, _within(timeout), socket_options))


class _AsyncNetwork(httpcore.AnyIOBackend):
    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Options = None,
    ) -> httpcore.AsyncNetworkStream:
        within = _within(timeout)
        stream = await super().connect_tcp(host, port, within, local_address, socket_options)
        return _AsyncStream(stream)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Options = None,
    ) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(
            await super().connect_unix_socket(path, _within(timeout), socket_options)
        )


class OuterTransport(httpx.BaseTransport):
    """Sends outer requests by a route, with as many connections as are asked for."""

    def __init__(self, route: Route) -> None:
        network = _Network()
        self._pool: httpcore.ConnectionPool
        if route.proxy is None:
            uds = route.endpoint.socket_path
            self._pool = httpcore.ConnectionPool(**_pooling(), uds=uds, network_backend=network)
        else:
            self._pool = httpcore.HTTPProxy(**_proxied(route.proxy), network_backend=network)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response as its head has come; raises an error of httpx."""
        with _translated():
            response = self._pool.handle_request(_request(request))
        return _response(response, _SyncBody(response))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class AsyncOuterTransport(httpx.AsyncBaseTransport):
    """The asynchronous twin of OuterTransport."""

    def __init__(self, route: Route) -> None:
        network = _AsyncNetwork()
        self._pool: httpcore.AsyncConnectionPool
        if route.proxy is None:
            uds = route.endpoint.socket_path
            self._pool = httpcore.AsyncConnectionPool(
                **_pooling(), uds=uds, network_backend=network
            )
        else:
            self._pool = httpcore.AsyncHTTPProxy(**_proxied(route.proxy), network_backend=network)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the response as its head has come; raises an error of httpx."""
        with _translated():
            response = await self._pool.handle_async_request(_request(request))
        return _response(response, _AsyncBody(response))

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()


class _SyncBody(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        with _translated():
            yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()


class _AsyncBody(httpx.AsyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for piece in self._response.aiter_stream():
                yield piece

    async def aclose(self) -> None:
        await self._response.aclose()


def _pooling() -> dict[str, Any]:
    # A question never waits for another's end.
    return {
        "ssl_context": trust.context(),
        "max_connections": None,
        "max_keepalive_connections": _KEPT_CONNECTIONS,
        "keepalive_expiry": _KEPT_SECONDS,
    }


def _proxied(address: str) -> dict[str, Any]:
    proxy = httpx.Proxy(address)
    url = httpcore.URL(
        scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target=b"/"
    )
    return {**_pooling(), "proxy_url": url, "proxy_auth": proxy.raw_auth}


def _request(request: httpx.Request) -> httpcore.Request:
    url = httpcore.URL(
        scheme=request.url.raw_scheme,
        host=request.url.raw_host,
        port=request.url.port,
        target=request.url.raw_path,
    )
    return httpcore.Request(
        request.method,
        url,
        headers=request.headers.raw,
        content=request.stream,
        extensions=request.extensions,
    )


def _response(
    response: httpcore.Response, body: httpx.SyncByteStream | httpx.AsyncByteStream
) -> httpx.Response:
    return httpx.Response(
        response.status, headers=response.headers, stream=body, extensions=response.extensions
    )


@contextmanager
def _translated() -> Iterator[None]:
    """Turn an error of httpcore into the one of httpx, which has the same name."""
    try:
        yield
    except _FAULTS as fault:
        error = getattr(httpx, type(fault).__name__)
        raise error(str(fault)) from fault

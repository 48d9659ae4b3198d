"""Where the local endpoint listens, and how many connections it takes.

By itself it is at both loopback addresses: which of them a program means by `localhost` depends on
its resolver. An address elsewhere takes a key, which `access` asks for.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oblivious_client.endpoint import is_loopback
from oblivious_client.errors import UsageError
from oblivious_client.local.endpoint import MAX_CONNECTIONS, LocalEndpoint
from oblivious_client.local.http import serve_connection

DEFAULT_PORT = 11435
LOOPBACK = ("127.0.0.1", "::1")

_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - named, and refused without a key
_ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True)
class Place:
    """Hosts, without brackets, and the port at all of them; only the first has to be had."""

    hosts: tuple[str, ...] = LOOPBACK
    port: int = DEFAULT_PORT

    @property
    def is_here(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return all(map(is_loopback, self.hosts))

    @property
    def names(self) -> frozenset[str]:
        """What stands in the Host of who was told this very address."""
        return frozenset(host.lower() for host in self.hosts if host not in _ANYWHERE)

    def url(self, port: int) -> str:
        """Return the URL for programs of this machine."""
        host = self.hosts[0]
        host = LOOPBACK[_ANYWHERE.index(host)] if host in _ANYWHERE else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def read_place(text: str | None) -> Place:
    """Return where to listen; raises UsageError for what is not HOST:PORT."""
    if text is None:
        return Place()
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535 or not host:
        raise UsageError(f"not HOST:PORT: {text}")
    return Place((host,), int(port))


def bind(place: Place, tell: Callable[[str], None]) -> list[socket.socket]:
    """Return sockets that are bound to a place; raises UsageError if its first host is taken."""
    first, *others = place.hosts
    try:
        sockets = _bound(first, place.port)
    except (OSError, UnicodeError) as error:
        said = getattr(error, "strerror", None) or "no such name"
        raise UsageError(
            f"cannot listen on {first}:{place.port}: {said}",
            advice="something else may listen there: choose another with --listen",
        ) from error
    port = sockets[0].getsockname()[1]
    for host in others:
        try:
            sockets += _bound(host, port)
        except OSError as error:
            if error.errno not in _ABSENT:
                tell(f"note: [{host}]:{port} is another program's: use {place.url(port)}")
    return sockets


def _bound(host: str, port: int) -> list[socket.socket]:
    flags = socket.AI_PASSIVE
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            _set_options(listener, family)
            # One port for all: a name can have several addresses, and the system chose for one.
            chosen = sockets[0].getsockname()[1] if len(sockets) > 1 else port
            listener.bind((address[0], chosen, *address[2:]))
    except BaseException:
        for listener in sockets:
            listener.close()
        raise
    return sockets


def _set_options(listener: socket.socket, family: int) -> None:
    if sys.platform == "win32":
        # There SO_REUSEADDR would let another program take the address over.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


@dataclass(frozen=True, slots=True)
class Listening:
    """Servers at work, and the port that they have."""

    port: int
    servers: tuple[asyncio.Server, ...]

    def close(self) -> None:
        """Take no more connections."""
        for server in self.servers:
            server.close()


async def start(endpoint: LocalEndpoint, sockets: Sequence[socket.socket]) -> Listening:
    """Serve at sockets that are bound."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if endpoint.connections >= endpoint.most + endpoint.refusals:
            writer.transport.abort()
            return
        endpoint.connections += 1
        try:
            await serve_connection(endpoint.service, reader, writer)
        except asyncio.CancelledError:
            return  # the program ends; nobody awaits this task to learn that it was cancelled
        finally:
            endpoint.connections -= 1

    servers = []
    for listener in sockets:
        # So many are accepted at once before any of them is counted.
        servers.append(await asyncio.start_server(serve, sock=listener, backlog=endpoint.refusals))
        listener.listen(MAX_CONNECTIONS)  # more may wait: those sent away try again in a second
    return Listening(sockets[0].getsockname()[1], tuple(servers))

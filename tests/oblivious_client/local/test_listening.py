"""Where the endpoint listens."""

import asyncio
import contextlib
import errno
import socket
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from oblivious_client.errors import UsageError
from oblivious_client.local import listening
from oblivious_client.local.endpoint import MAX_CONNECTIONS
from oblivious_client.local.listening import DEFAULT_PORT, LOOPBACK, Place, bind, read_place
from tests.support.local_endpoint import DEADLINE

ANY = "0.0.0.0"  # noqa: S104 - it is only named
HAS_SIX = False
with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
    HAS_SIX = True


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (None, Place(("127.0.0.1", "::1"), 11435)),
        ("127.0.0.1:0", Place(("127.0.0.1",), 0)),
        ("localhost:65535", Place(("localhost",), 65535)),
        ("[::1]:80", Place(("::1",), 80)),
        (f"{ANY}:80", Place((ANY,), 80)),
    ],
)
def test_a_place_is_read(text: str | None, place: Place) -> None:
    assert read_place(text) == place
    assert (DEFAULT_PORT, LOOPBACK) == (11435, ("127.0.0.1", "::1"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "80", "127.0.0.1:" + "9" * 5000, "127.0.0.1:٣", ":80", "localhost:"),
        *("localhost:-1", "localhost:65536", "localhost:http"),
    ],
)
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(UsageError, match="not HOST:PORT"):
        read_place(text)


@pytest.mark.parametrize(
    ("place", "is_here", "names", "url"),
    [
        (Place(), True, {"127.0.0.1", "::1"}, "http://127.0.0.1:5"),
        (Place(("::1",), 1), True, {"::1"}, "http://[::1]:5"),
        (Place(("Box",), 1), False, {"box"}, "http://Box:5"),
        (Place((ANY,), 1), False, set(), "http://127.0.0.1:5"),
        (Place(("::",), 1), False, set(), "http://[::1]:5"),
        (Place(("127.0.0.1", "box"), 1), False, {"127.0.0.1", "box"}, "http://127.0.0.1:5"),
    ],
)
def test_what_is_known_of_a_place(place: Place, is_here: bool, names: set[str], url: str) -> None:
    assert (place.is_here, set(place.names), place.url(5)) == (is_here, names, url)


@contextlib.contextmanager
def bound(place: Place, told: list[str]) -> Any:
    sockets = bind(place, told.append)
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


@pytest.mark.skipif(not HAS_SIX, reason="this machine has no IPv6")
def test_both_loopback_addresses_have_one_port() -> None:
    told: list[str] = []
    with bound(Place(port=0), told) as sockets:
        names = [each.getsockname()[:2] for each in sockets]
        assert [name for name, _ in names] == ["127.0.0.1", "::1"]
        assert len({port for _, port in names}) == 1
    assert told == []


@pytest.mark.skipif(not HAS_SIX, reason="this machine has no IPv6")
def test_an_address_that_another_program_has_is_named() -> None:
    told: list[str] = []
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as other:
        port = other.getsockname()[1]
        with bound(Place(port=port), told) as sockets:
            assert len(sockets) == 1
        assert told == [f"note: [::1]:{port} is another program's: use http://127.0.0.1:{port}"]


def test_without_ipv6_there_is_one_address(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    real = listening._bound

    def absent(host: str, port: int) -> list[socket.socket]:
        if ":" in host:
            raise OSError(errno.EADDRNOTAVAIL, "no such address")
        return real(host, port)

    monkeypatch.setattr(listening, "_bound", absent)
    with bound(Place(port=0), told) as sockets:
        assert len(sockets) == 1
    assert told == []


def test_what_is_taken_is_refused_and_what_is_no_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(UsageError, match=r"cannot listen on 127\.0\.0\.1") as caught:
            bind(Place(("127.0.0.1",), other.getsockname()[1]), print)
        assert "--listen" in caught.value.advice
    with pytest.raises(UsageError, match=r"cannot listen on a\.\.b"):
        bind(Place(("a..b",), 1), print)


def test_a_name_with_several_addresses_has_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    addresses = [("127.0.0.1", 0), ("127.0.0.2", 0), ("127.0.0.1", 0)]
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each) for each in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with bound(Place(("a.name",), 0), []) as sockets:
        names = [each.getsockname() for each in sockets]
    assert [host for host, _ in names] == ["127.0.0.1", "127.0.0.2"]
    assert len({port for _, port in names}) == 1


def test_where_one_address_of_a_name_is_taken_none_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.2", 0)) as other:
        port = other.getsockname()[1]
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in ("127.0.0.1", "127.0.0.2")
        ]
        with monkeypatch.context() as patch:
            patch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
            with pytest.raises(UsageError, match="already in use"):
                bind(Place(("a.name",), port), print)
        with socket.create_server(("127.0.0.1", port), reuse_port=False):
            pass


def test_on_windows_nobody_takes_the_address_over(monkeypatch: pytest.MonkeyPatch) -> None:
    class Listener:
        options: list[tuple[int, int, int]] = []  # noqa: RUF012 - of one test

        def setsockopt(self, *option: int) -> None:
            self.options.append((option[0], option[1], option[2]))

    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", -5, raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    listening._set_options(Listener(), socket.AF_INET)  # type: ignore[arg-type]
    monkeypatch.setattr(sys, "platform", "linux")
    listening._set_options(Listener(), socket.AF_INET6)  # type: ignore[arg-type]
    assert Listener.options == [
        (socket.SOL_SOCKET, -5, 1),
        (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
        (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1),
    ]


class Noting(socket.socket):
    """A socket of which it is known how many it lets wait."""

    def listen(self, backlog: int = 0, /) -> None:
        self.backlogs = [*getattr(self, "backlogs", []), backlog]
        super().listen(backlog)


def test_who_is_served_and_who_waits_until_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint: Any = SimpleNamespace(connections=0, most=1, refusals=1, service=None)
    counts: list[int] = []

    async def serve(_: object, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts.append(endpoint.connections)
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        listeners = [Noting(socket.AF_INET, socket.SOCK_STREAM) for _ in range(2)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        ports = [listener.getsockname()[1] for listener in listeners]
        served = await listening.start(endpoint, listeners)
        assert served.port == ports[0]
        for listener in listeners:
            assert listener.backlogs == [endpoint.refusals, MAX_CONNECTIONS]
        connections = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(3)]
        with contextlib.suppress(ConnectionResetError):
            assert await connections[2][0].read() == b""
        assert (counts, endpoint.connections) == ([1, 2], 2)
        for _, writer in connections:
            writer.close()
            with contextlib.suppress(ConnectionResetError):
                await writer.wait_closed()
        while endpoint.connections:
            await asyncio.sleep(0.01)
        served.close()
        for port in ports:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    monkeypatch.setattr(listening, "serve_connection", serve)
    asyncio.run(asyncio.wait_for(main(), DEADLINE))

"""How addresses are written, and what listening on them does to what is there."""

import contextlib
import select
import socket
import stat
import types
from pathlib import Path
from typing import cast

import pytest

from enclave_server import addresses
from enclave_server.addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    bound_address,
    connect_socket,
    listen_socket,
    parse_address,
)
from tests.support.sockets import noted_sockets


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("vsock://3:5000", VsockAddress(3, 5000)),
        ("vsock://any:5000", VsockAddress(0xFFFFFFFF, 5000)),
        ("vsock://16:4294967294", VsockAddress(16, 0xFFFFFFFE)),
        ("tcp://127.0.0.1:0", TcpAddress("127.0.0.1", 0)),
        ("tcp://[::1]:5000", TcpAddress("::1", 5000)),
        ("tcp://localhost:65535", TcpAddress("localhost", 65535)),
        ("unix:/run/a b.sock", UnixAddress("/run/a b.sock")),
        ("unix:relative", UnixAddress("relative")),
        ("unix:a", UnixAddress("a")),
    ],
)
def test_parse_and_write(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


def test_whatever_number_is_any_may_be_written() -> None:
    assert parse_address("vsock://4294967295:5000") == parse_address("vsock://any:5000")


@pytest.mark.parametrize(
    "text",
    [
        *("", "unix:", "unix:a\0b", "tcp://", "tcp://a", "tcp://a:", "tcp://a:-1", "tcp://a:65536"),
        *(
            "tcp://a:1/",
            "tcp://a@b:1",
            "tcp://::1:1",
            "tcp://a:\u0661",
            "http://a:1",
            "127.0.0.1:80",
        ),
        *("tcp://a\0:1", "tcp://a\x7f:1", "tcp://a\x1b:1"),
        *("vsock://a:1", "vsock://-1:1", "vsock://4294967296:1", "vsock://3:4294967295"),
    ],
)
def test_what_is_not_an_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


def test_listen_on_tcp() -> None:
    with listen_socket(parse_address("tcp://127.0.0.1:0")) as listener:
        address = bound_address(listener)
        assert isinstance(address, TcpAddress)
        assert address.port > 0
        assert not listener.getblocking()
        socket.create_connection((address.host, address.port), 5).close()


def test_what_cannot_be_listened_on_leaves_no_socket_behind(tmp_path: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with listen_socket(TcpAddress("127.0.0.1", 0)) as listener:
        before = descriptors()
        with pytest.raises(OSError, match="in use"):
            listen_socket(bound_address(listener))
        with pytest.raises(FileNotFoundError):
            listen_socket(UnixAddress(str(tmp_path / "none" / "socket")))
        assert descriptors() == before


def test_listen_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with listen_socket(UnixAddress(str(path))) as listener:
        assert bound_address(listener) == UnixAddress(str(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "server.sock"))
    listen_socket(address).close()
    listen_socket(address).close()


def test_a_living_server_keeps_its_socket(tmp_path: Path) -> None:
    address = UnixAddress(str(tmp_path / "server.sock"))
    with listen_socket(address), pytest.raises(FileExistsError, match="another server"):
        listen_socket(address)
    assert Path(address.path).is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_nothing_but_a_socket_is_removed(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("keep")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError, match="not a socket"):
        listen_socket(UnixAddress(str(path)))
    assert path.is_symlink() or path.exists()


def test_a_living_server_with_a_full_queue_keeps_its_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "server.sock")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_UNIX))
        server.bind(path)
        server.listen(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                client = stack.enter_context(socket.socket(socket.AF_UNIX))
                client.setblocking(False)
                client.connect(path)
        with pytest.raises(FileExistsError, match="another server listens"):
            listen_socket(UnixAddress(path))
    assert Path(path).is_socket()


def test_where_a_vsock_listens_is_its_cid_and_port() -> None:
    """No machine here need have one: what its socket would say is enough."""
    listener = types.SimpleNamespace(family=socket.AF_VSOCK, getsockname=lambda: (16, 5000))
    assert bound_address(cast(socket.socket, listener)) == VsockAddress(16, 5000)


@pytest.mark.parametrize("family", ["tcp", "unix"])
def test_a_connection_is_begun_without_waiting(tmp_path: Path, family: str) -> None:
    wanted: Address = (
        TcpAddress("localhost", 0) if family == "tcp" else UnixAddress(str(tmp_path / "socket"))
    )
    with listen_socket(wanted) as listener:
        listener.setblocking(True)
        with connect_socket(bound_address(listener)) as client, listener.accept()[0] as server:
            assert not client.getblocking()
            select.select([], [client], [])
            client.sendall(b"x")
            assert server.recv(1) == b"x"


def test_of_several_numbers_of_a_name_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, 0))
        for host in ("127.0.0.1", "203.0.113.1")
    ]
    connected: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with listen_socket(TcpAddress("a.example", 0)) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    monkeypatch.setattr(addresses, "_connect", lambda _, target: connected.append(target))
    connect_socket(TcpAddress("a.example", 0))
    assert connected == [("127.0.0.1", 0)]


def test_a_socket_that_leads_nowhere_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, made = noted_sockets()
    monkeypatch.setattr("socket.socket", kind)
    nowhere = UnixAddress(str(tmp_path / "no folder/socket"))
    for begin in (connect_socket, listen_socket):
        with pytest.raises(FileNotFoundError):
            begin(nowhere)
    assert [each.fileno() for each in made] == [-1, -1]

"""Addresses as the command line writes them, and listening there."""

import socket
from pathlib import Path

import pytest

from host_proxy.addresses import (
    ANY_CID,
    UNIX_SEND_BYTES,
    UNPACED,
    Activated,
    Address,
    AddressError,
    ListenError,
    Tcp,
    Unix,
    Vsock,
    VsockUds,
    listen,
    parse,
    parse_host_port,
    prepare_listener,
)
from tests.support.host_proxy_process import DEADLINE

GOOD: dict[str, Address] = {
    "tcp://127.0.0.1:8443": Tcp("127.0.0.1", 8443),
    "tcp://[::1]:0": Tcp("::1", 0),
    "tcp://relay.example:443": Tcp("relay.example", 443),
    "unix:/run/x": Unix("/run/x"),
    "unix:x:y": Unix("x:y"),
    "vsock://16:5000": Vsock(16, 5000),
    "vsock://any:5000": Vsock(ANY_CID, 5000),
    "vsock-uds:/run/v:5000": VsockUds("/run/v", 5000),
    "vsock-uds:/run/a:b:5000": VsockUds("/run/a:b", 5000),
    "systemd:ingress": Activated("ingress"),
}


BAD = [
    "",
    "8443",
    "127.0.0.1:8443",
    "http://127.0.0.1:8443",
    "tcp://",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:",
    "tcp://127.0.0.1:x",
    "tcp://127.0.0.1:-1",
    "tcp://127.0.0.1:65536",
    "tcp://127.0.0.1:٣",
    "tcp://:80",
    "tcp://::1:80",
    "tcp://[::1:80",
    "tcp://a]:80",
    "tcp://[]:80",
    "tcp://a b:80",
    "tcp://a\0:80",
    "tcp://a/b:80",
    "tcp://a:" + "9" * 5000,
    "unix:",
    "unix:" + "x" * 108,
    "unix:a\0b",
    "vsock://16",
    "vsock://host:5000",
    "vsock://4294967295:1",
    "vsock-uds:/run/v",
    "vsock-uds::5000",
    "systemd:",
]


@pytest.mark.parametrize("text", GOOD)
def test_addresses_are_read_and_written_alike(text: str) -> None:
    assert parse(text) == GOOD[text]
    assert str(GOOD[text]) == text


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("8443", "no address: use one of tcp://, "),
        ("tcp://8443", "not HOST:PORT"),
        ("tcp://a:65536", "not a number from 0 to 65535"),
        ("vsock://16", "not CID:PORT"),
        ("vsock://4294967295:1", "not a number from 0 to 4294967294"),
        ("vsock://1:4294967295", "not a number from 0 to 4294967294"),
        ("vsock-uds:/run/v", "not PATH:PORT"),
        ("vsock-uds:/run/v:4294967295", "not a number from 0 to 4294967294"),
        ("systemd:", "needs the FileDescriptorName"),
    ],
)
def test_what_is_wrong_with_an_address_is_said(text: str, what: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert what in str(caught.value)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(AddressError):
        parse(text)


def test_only_an_interface_can_be_listened_on(tmp_path: Path) -> None:
    with pytest.raises(AddressError, match="by its number"):
        listen(Tcp("localhost", 0))
    with pytest.raises(AddressError, match="not passed"):
        listen(Activated("ingress"))
    with pytest.raises(ListenError, match=r"cannot listen on unix:.*No such file"):
        listen(Unix(str(tmp_path / "absent" / "socket")))


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_only_on_loopback_the_congestion_control_is_chosen(host: str) -> None:
    with socket.create_server((host, 0)) as listener, socket.socket() as plain:
        prepare_listener(listener)
        usual = plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1]), DEADLINE):
            listener.settimeout(DEADLINE)
            with listener.accept()[0] as accepted:
                chosen = accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
    assert chosen.rstrip(b"\0") == (UNPACED if host == "127.0.0.1" else usual.rstrip(b"\0"))


def test_host_and_port() -> None:
    assert parse_host_port("api.example.com:443") == Tcp("api.example.com", 443)
    assert parse_host_port("[2001:db8::1]:443") == Tcp("2001:db8::1", 443)
    with pytest.raises(AddressError):
        parse_host_port("2001:db8::1:443")


def test_vsock_is_listened_on() -> None:
    try:
        socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    except OSError:
        pytest.skip("this kernel has no vsock")
    with listen(Vsock(ANY_CID, 50_123)) as listener:
        assert listener.getsockname() == (ANY_CID, 50_123)
        assert listener.gettimeout() == 0


def test_a_tcp_peer_that_vanished_is_noticed_and_small_pieces_go_at_once() -> None:
    with listen(Tcp("127.0.0.1", 0)) as listener:
        for level, name, value in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
            (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),
            (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
            (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
            (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        ):
            assert listener.getsockopt(level, name) == value


def test_a_unix_reader_may_fall_behind(tmp_path: Path) -> None:
    """The kernel keeps as much again for itself (socket(7)): what nobody has set is less."""
    most = int(Path("/proc/sys/net/core/wmem_max").read_text())
    with listen(Unix(str(tmp_path / "in"))) as listener:
        size = listener.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        assert size == 2 * min(UNIX_SEND_BYTES, most)


def test_a_path_is_taken_over_only_from_the_dead(tmp_path: Path) -> None:
    path = str(tmp_path / "in")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    with listen(Unix(path)) as alive:
        with pytest.raises(ListenError, match="Address already in use"):
            listen(Unix(path))
        alive.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.setblocking(False)
            first.connect_ex(path)  # its queue is full now, and it lives all the same
            with pytest.raises(ListenError, match="Address already in use"):
                listen(Unix(path))
    Path(path).unlink()
    Path(path).write_text("no socket")
    with pytest.raises(ListenError, match="Address already in use"):
        listen(Unix(path))
    assert Path(path).read_text() == "no socket"

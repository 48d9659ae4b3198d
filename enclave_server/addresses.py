"""Addresses of stream sockets, written the same way everywhere.

`vsock://CID:PORT` (`vsock://any:PORT` to listen), `tcp://HOST:PORT` and `unix:PATH`.
"""

import contextlib
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

# More than the kernel keeps (net.core.somaxconn) is cut silently; fewer than a burst of
# reconnecting relays would be refused while the event loop is busy.
BACKLOG = 1024

# Owner and group: host_proxy and other front ends may run as another user of the same group.
SOCKET_MODE = 0o660

_CID_ANY = 0xFFFFFFFF  # VMADDR_CID_ANY of vm_sockets.h
_MAX_PORT = {"tcp": 0xFFFF, "vsock": 0xFFFFFFFE}
_HOST = r"\[[0-9a-fA-F:.]+\]|[^][:/@?#\s\x00-\x1f\x7f]+"
_NETWORK = re.compile(rf"(vsock|tcp)://({_HOST}):([0-9]{{1,10}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class VsockAddress:
    """An AF_VSOCK port of one context identifier, or of any."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock://{'any' if self.cid == _CID_ANY else self.cid}:{self.port}"


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port of a host name or an IP address (IPv6 without its brackets)."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """The path of a Unix stream socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = VsockAddress | TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Return the address that `text` names, or raise ValueError saying what is accepted."""
    if text.startswith("unix:") and len(text) > 5 and "\0" not in text:
        return UnixAddress(text[5:])
    match = _NETWORK.fullmatch(text)
    if match is None:
        raise ValueError(f"not an address: {text!r} (vsock://CID:PORT, tcp://HOST:PORT, unix:PATH)")
    scheme, host, port = match[1], match[2], int(match[3])
    if port > _MAX_PORT[scheme]:
        raise ValueError(f"port out of range: {text!r}")
    if scheme == "tcp":
        return TcpAddress(host.strip("[]"), port)
    return VsockAddress(_parse_cid(host), port)


def _parse_cid(text: str) -> int:
    if text == "any":
        return _CID_ANY
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > _CID_ANY:
        raise ValueError(f"not a context identifier: {text!r} (a number, or any)")
    return int(text)


def listen_socket(address: Address) -> socket.socket:
    """Return a non-blocking socket that listens on `address`; raise OSError if that is refused."""
    match address:
        case VsockAddress(cid, port):
            listener = _listen(socket.AF_VSOCK, (cid, port))
        case TcpAddress(host, port):
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, _, _, _, target = found[0]
            listener = _listen(family, target)
        case UnixAddress(path):
            _remove_stale_socket(path)
            listener = _listen(socket.AF_UNIX, path)
    return listener


def connect_socket(address: Address) -> socket.socket:
    """Return a non-blocking socket that is being connected to `address`, or raise OSError.

    It can be written to once it is connected, or has failed. A host name is looked up first.
    """
    match address:
        case VsockAddress(cid, port):
            return _connect(socket.AF_VSOCK, (cid, port))
        case TcpAddress(host, port):
            family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            return _connect(family, target)
        case UnixAddress(path):
            return _connect(socket.AF_UNIX, path)


def _connect(family: int, target: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        with contextlib.suppress(BlockingIOError):
            connection.connect(target)  # type: ignore[arg-type]  # each family has its own
    except BaseException:
        connection.close()
        raise
    return connection


def bound_address(listener: socket.socket) -> Address:
    """Return where `listener` listens, with the port that the system assigned."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return UnixAddress(name)
    if listener.family == socket.AF_VSOCK:
        return VsockAddress(name[0], name[1])
    return TcpAddress(name[0], name[1])


def _listen(family: int, target: object) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        listener.bind(target)  # type: ignore[arg-type]  # each family has a target type of its own
        if family == socket.AF_UNIX:
            Path(listener.getsockname()).chmod(SOCKET_MODE)  # before anybody can connect
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale_socket(path: str) -> None:
    """Remove the socket that a dead server left at `path`, and nothing else."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog must not hang the start
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                Path(path).unlink()
            return
        except FileNotFoundError:
            return
        except BlockingIOError:
            pass
    raise FileExistsError(f"another server listens on {path}")

"""Where the proxy listens and what it connects to, as written on the command line."""

import ipaddress
import os
import re
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

UNIX_SEND_BYTES: Final = 1 << 19  # the kernel caps it; measured, bulk takes half the CPU time
ANY_CID: Final = 0xFFFFFFFF  # VMADDR_CID_ANY
UNIX_PATH_BYTES: Final = 107  # sun_path holds 108 with its final zero
UNPACED: Final = b"reno"  # the congestion control that every Linux has; loopback loses nothing
BACKLOG: Final = 4096  # AF_VSOCK resets what exceeds it, so it is generous; the kernel caps it


# A name that can be looked up has none of these; a number of IPv6 stands in brackets.
_HOST: Final = re.compile(r"[^][:/@?#\s\x00-\x1f\x7f]+|\[[^][/@?#\s\x00-\x1f\x7f]+\]")
_NUMBER: Final = re.compile(r"[0-9]{1,10}")  # more digits than any has, and few enough for int()


class AddressError(ValueError):
    """An address or option that the operator wrote wrongly."""


class ListenError(Exception):
    """The system refuses a listening socket at an address."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """`tcp://HOST:PORT`; an IPv6 address stands in brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """`unix:PATH`."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Vsock:
    """`vsock://CID:PORT`; the CID `any` is for listening only."""

    cid: int
    port: int

    def __str__(self) -> str:
        return f"vsock://{'any' if self.cid == ANY_CID else self.cid}:{self.port}"


@dataclass(frozen=True, slots=True)
class VsockUds:
    """`vsock-uds:PATH:PORT`, the Unix socket through which a virtual machine's vsock is reached.

    Connecting sends `CONNECT PORT\\n` to PATH; listening serves the guest's own connections to
    PORT, which the virtual machine monitor makes to the Unix socket PATH_PORT.
    """

    path: str
    port: int

    def __str__(self) -> str:
        return f"vsock-uds:{self.path}:{self.port}"


@dataclass(frozen=True, slots=True)
class Activated:
    """`systemd:NAME`, a listening socket passed by systemd under that FileDescriptorName."""

    name: str

    def __str__(self) -> str:
        return f"systemd:{self.name}"


Address = Tcp | Unix | Vsock | VsockUds | Activated


def parse(text: str) -> Address:
    """Return the address that `text` names, or raise AddressError."""
    for prefix, read in _READERS.items():
        if text.startswith(prefix):
            return read(text.removeprefix(prefix))
    raise AddressError(f"{text!r} is no address: use one of {', '.join(_READERS)}")


def parse_host_port(text: str) -> Tcp:
    """Return the address of `HOST:PORT`, or raise AddressError."""
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host):
        raise AddressError(f"{text!r} is not HOST:PORT")
    return Tcp(host.removeprefix("[").removesuffix("]"), _number(port, 0xFFFF))


def _parse_vsock(text: str) -> Vsock:
    cid, colon, port = text.partition(":")
    if not colon:
        raise AddressError(f"{text!r} is not CID:PORT")
    return Vsock(ANY_CID if cid == "any" else _number(cid, ANY_CID - 1), _number(port, ANY_CID - 1))


def _parse_unix(text: str) -> Unix:
    return Unix(_path(text))


def _parse_vsock_uds(text: str) -> VsockUds:
    path, colon, port = text.rpartition(":")
    if not colon:
        raise AddressError(f"{text!r} is not PATH:PORT")
    return VsockUds(_path(path), _number(port, ANY_CID - 1))


def _parse_activated(text: str) -> Activated:
    if not text:
        raise AddressError("systemd: needs the FileDescriptorName of the socket unit")
    return Activated(text)


def _number(text: str, largest: int) -> int:
    if not _NUMBER.fullmatch(text) or int(text) > largest:
        raise AddressError(f"{text!r} is not a number from 0 to {largest}")
    return int(text)


def _path(text: str) -> str:
    if not text or "\0" in text or len(os.fsencode(text)) > UNIX_PATH_BYTES:
        raise AddressError(f"{text!r} is no path of a Unix socket (1 to {UNIX_PATH_BYTES} bytes)")
    return text


_READERS: Final[dict[str, Callable[[str], Address]]] = {
    "tcp://": parse_host_port,
    "vsock://": _parse_vsock,
    "vsock-uds:": _parse_vsock_uds,
    "unix:": _parse_unix,
    "systemd:": _parse_activated,
}


def listen(address: Address) -> socket.socket:
    """Return a non-blocking listening socket at `address`, or raise ListenError."""
    try:
        return _listen(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error


def _listen(address: Address) -> socket.socket:
    match address:
        case Tcp():
            return _listen_tcp(address)
        case Unix(path):
            return _listen_unix(path)
        case VsockUds(path, port):
            return _listen_unix(_path(f"{path}_{port}"))
        case Vsock(cid, port):
            return _bound(socket.AF_VSOCK, (cid, port))
        case Activated():
            raise AddressError(f"{address} was not passed by systemd")


def prepare_listener(listener: socket.socket) -> socket.socket:
    """Set what accepted sockets inherit, and make the listener non-blocking."""
    listener.setblocking(False)
    tune(listener)
    if _is_loopback(listener):  # where bbr is the default, its timers double the CPU time of bulk
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, UNPACED)
    return listener


def _is_loopback(listener: socket.socket) -> bool:
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def tune(sock: socket.socket) -> None:
    """Send TCP's small pieces at once, notice a vanished peer; let a Unix reader fall behind."""
    if sock.family == socket.AF_UNIX:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UNIX_SEND_BYTES)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def literal(host: str) -> socket.AddressFamily | None:
    """Return the family of a host that is written as a number, None for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def _listen_tcp(address: Tcp) -> socket.socket:
    family = literal(address.host)
    if family is None:
        raise AddressError(f"{address} must name an interface by its number to listen on it")
    return _bound(family, (address.host, address.port))


def _listen_unix(path: str) -> socket.socket:
    """Listen at `path`, in place of a socket that a dead process left there."""
    if _is_abandoned(path):
        Path(path).unlink()
    return _bound(socket.AF_UNIX, path)


def _is_abandoned(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False


def _bound(family: int, sockaddr: tuple[str, int] | tuple[int, int] | str) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family in (socket.AF_INET, socket.AF_INET6):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        listener.bind(sockaddr)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return prepare_listener(listener)

"""The sockets that this process listens on: made here, or passed by systemd."""

import socket
from collections.abc import Mapping
from pathlib import Path

from host_proxy.addresses import (
    Activated,
    Address,
    AddressError,
    Tcp,
    Unix,
    VsockUds,
    listen,
    prepare_listener,
)
from host_proxy.log import log


class Listeners:
    """Opens listening sockets, and removes the paths of those that it made."""

    __slots__ = ("_passed", "_paths")

    def __init__(self, passed: Mapping[str, socket.socket]) -> None:
        self._passed = dict(passed)
        self._paths: dict[socket.socket, Path] = {}

    def open(self, address: Address) -> socket.socket:
        """Return a listening socket, or raise ListenError or AddressError."""
        if isinstance(address, Activated):
            listener = self._passed.pop(address.name, None)
            if listener is None:
                raise AddressError(f"systemd passed no socket of the name {address.name!r}")
            return prepare_listener(listener)
        listener = listen(address)
        if isinstance(address, (Unix, VsockUds)):
            self._paths[listener] = Path(listener.getsockname())
        log("listening", address=_actual(address, listener))
        return listener

    def forget(self, listener: socket.socket) -> None:
        """Remove the path of a listener that accepts nothing more."""
        path = self._paths.pop(listener, None)
        if path is not None:
            path.unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Remove all paths that are left."""
        for listener in tuple(self._paths):
            self.forget(listener)


def _actual(address: Address, listener: socket.socket) -> str:
    """Return the address with the port that the system chose in place of 0."""
    if isinstance(address, Tcp):
        return str(Tcp(address.host, listener.getsockname()[1]))
    return str(address)

"""A host that carries between enclaves of one process, and may do with the octets what it likes."""

import contextlib
import socket
from dataclasses import dataclass, field
from pathlib import Path

from enclave_server.addresses import UnixAddress, connect_socket, listen_socket

PIECE = 1 << 16


@dataclass
class Carried:
    """One connection: both its sockets, all that has come, and how much of it went on."""

    near: socket.socket
    far: socket.socket
    up: bytearray = field(default_factory=bytearray)
    down: bytearray = field(default_factory=bytearray)
    sent_up: int = 0
    sent_down: int = 0

    def close(self) -> None:
        """Cut it."""
        self.near.close()
        self.far.close()


class Carrier:
    """Carries what comes to `address` to `target`, a turn at a time.

    While `held` nothing goes on. `downward` is how many octets go down a connection before it is
    cut, None for all, and so is it once there have been more connections than `mended_after`.
    """

    def __init__(self, path: Path, target: UnixAddress) -> None:
        self.address = UnixAddress(str(path))
        self.held = False
        self.downward: int | None = None
        self.mended_after: int | None = None
        self.connections: list[Carried] = []
        self._target = target
        self._listener = listen_socket(self.address)
        self._alive: list[Carried] = []

    def turn(self) -> None:
        """Accept, and carry what has come."""
        with contextlib.suppress(BlockingIOError):
            while True:
                near = self._listener.accept()[0]
                self._connect(near)
        for each in list(self._alive):
            try:
                self._carry(each)
            except OSError:
                each.close()
                self._alive.remove(each)

    def close(self) -> None:
        """Cut everything."""
        for each in self._alive:
            each.close()
        self._listener.close()

    def _connect(self, near: socket.socket) -> None:
        try:
            far = connect_socket(self._target)
        except OSError:
            near.close()
            return
        for end in (near, far):
            end.setblocking(False)
        carried = Carried(near, far)
        self.connections.append(carried)
        if self.mended_after is not None and len(self.connections) > self.mended_after:
            self.downward = None
        self._alive.append(carried)

    def _carry(self, each: Carried) -> None:
        ended = _read(each.near, each.up) | _read(each.far, each.down)
        if not self.held:
            until = len(each.down) if self.downward is None else self.downward
            each.sent_up += each.far.send(each.up[each.sent_up :]) if each.up else 0
            piece = each.down[each.sent_down : until]
            each.sent_down += each.near.send(piece) if piece else 0
            if self.downward is not None and each.sent_down >= self.downward:
                raise ConnectionResetError
        if ended and not self.held:
            raise ConnectionResetError


def _read(end: socket.socket, into: bytearray) -> bool:
    """Take what has come; whether there is an end."""
    try:
        data = end.recv(PIECE)
    except BlockingIOError:
        return False
    into += data
    return not data

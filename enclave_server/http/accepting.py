"""Accepts from the listening socket that all workers share, as far as there is room.

asyncio's own acceptor knows no limit and no sibling, and writes a hundred lines to the log when
there are no descriptors. Here a worker that is full leaves new connections to its siblings. Only
when none of them has room does it accept, to say so.
"""

import asyncio
import errno
import math
import socket
from collections.abc import Callable

from enclave_server.http.budget import Budget
from enclave_server.http.rooms import Room
from enclave_server.log import Log

AT_ONCE = 32
"""Connections that are accepted before the event loop goes round, and siblings take some."""

LOOK_SECONDS = 0.05
"""Between two looks at the siblings: so late is a 503 that none of them can spare a client."""

PAUSE_SECONDS = 1.0
"""Without accepting, when the system does not let us: so there is one line a second of it."""

_NONE_NOW = (BlockingIOError, InterruptedError, ConnectionAbortedError)

Take = Callable[[socket.socket], None]
"""Takes a connection that was accepted."""


class Acceptor:
    """Hands on what it accepts; leaves it to others, or waits, where it cannot."""

    def __init__(
        self, listener: socket.socket, take: Take, budget: Budget, room: Room, log: Log
    ) -> None:
        """Take over `listener`; nothing is accepted before `start`."""
        self._listener = listener
        self._take = take
        self._budget = budget
        self._room = room
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._resumes = -math.inf  # when it may accept again, after it was not let
        self._watches = False
        self._timer: asyncio.TimerHandle | None = None
        self.has_room = True

    def start(self) -> None:
        """Begin to accept."""
        self.look()
        if not self._room.is_alone:
            self._keep_looking()

    def close(self) -> None:
        """Accept nothing more."""
        if self._timer is not None:
            self._timer.cancel()
        self._watch(False)
        self._room.tell(False)
        self._listener.close()

    def look(self) -> None:
        """Tell whether there is room here, and accept if somebody has to and it is up to us."""
        if self._listener.fileno() < 0:
            return
        may = self._loop.time() >= self._resumes
        self.has_room = may and not self._budget.is_full
        self._room.tell(self.has_room)
        self._watch(self.has_room or (may and not self._room.is_elsewhere()))

    def _keep_looking(self) -> None:
        self.look()
        self._timer = self._loop.call_later(LOOK_SECONDS, self._keep_looking)

    def _watch(self, wanted: bool) -> None:
        if wanted and not self._watches:
            self._loop.add_reader(self._listener, self._accept)
        elif self._watches and not wanted:
            self._loop.remove_reader(self._listener)
        self._watches = wanted

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._budget.is_full:
                self.look()
                if not self._watches:
                    return
            try:
                connection, _ = self._listener.accept()
            except _NONE_NOW:
                return
            except OSError as error:
                self._pause(error)
                return
            self._take(connection)

    def _pause(self, error: OSError) -> None:
        """Leave clients in the queue for a moment: there are no descriptors, or no memory."""
        self._resumes = self._loop.time() + PAUSE_SECONDS
        self._log.event("accept_failed", code=errno.errorcode.get(error.errno or 0))
        self.look()
        self._loop.call_later(PAUSE_SECONDS, self.look)

"""Signals that ask the server to end, noticed by a loop that waits for other things as well."""

import contextlib
import select
import signal
import socket
from collections.abc import Iterable
from types import FrameType, TracebackType
from typing import Self

NUMBERS = (signal.SIGTERM, signal.SIGINT)

IGNORED = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""Elsewhere they mean to read the settings again; here these are measured, and do not change.

Workers and engine inherit that: by default each of these signals would end them.
"""


class StopSignals:
    """Counts signals to end from `with` on, instead of dying of them."""

    def __init__(self) -> None:
        self.count = 0
        self._undo = contextlib.ExitStack()
        self._wakeup, self._written = socket.socketpair()

    def __enter__(self) -> Self:
        for end in (self._wakeup, self._written):
            self._undo.enter_context(end)
            end.setblocking(False)
        for number in NUMBERS:
            self._undo.callback(signal.signal, number, signal.signal(number, self._note))
        for number in IGNORED:
            self._undo.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        # The end of a child has no meaning of its own here: it only ends the waiting.
        before = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._undo.callback(signal.signal, signal.SIGCHLD, before)
        descriptor = self._written.fileno()
        before_wakeup = signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        self._undo.callback(signal.set_wakeup_fd, before_wakeup)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def wait(self, others: Iterable[socket.socket], seconds: float) -> None:
        """Return when a signal has come, one of `others` can be read, or the time is over."""
        select.select([self._wakeup, *others], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            self._wakeup.recv(4096)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1

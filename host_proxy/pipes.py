"""Pipes through which bulk data moves in the kernel, borrowed only while there is some."""

import contextlib
import fcntl
import os
from typing import Final

PIPE_BYTES: Final = 1 << 20  # what an unprivileged process may ask for
SPARE_PIPES: Final = 8  # kept open between uses; an empty pipe holds no pages
PIPES: Final = 128  # at most this many at once; beyond them data is copied, which always works


class Pipe:
    """A kernel pipe and the number of bytes in it."""

    __slots__ = ("held", "read_end", "write_end")

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.held = 0
        with contextlib.suppress(OSError):  # beyond the user's allowance it stays small
            fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def close(self) -> None:
        """Give back the descriptors and what is in them."""
        os.close(self.read_end)
        os.close(self.write_end)


class PipePool:
    """Lends pipes and keeps a few empty ones for the next borrower."""

    __slots__ = ("_lent", "_limit", "_spare")

    def __init__(self, limit: int = PIPES) -> None:
        self._limit = limit
        self._lent = 0
        self._spare: list[Pipe] = []

    @property
    def lent(self) -> int:
        """How many pipes are in use."""
        return self._lent

    def borrow(self) -> Pipe | None:
        """Return an empty pipe, None when there is none to be had."""
        if self._lent >= self._limit:
            return None
        try:
            pipe = self._spare.pop() if self._spare else Pipe()
        except OSError:  # out of descriptors
            return None
        self._lent += 1
        return pipe

    def give_back(self, pipe: Pipe) -> None:
        """Take a pipe back; one that still holds data is closed, and the data with it."""
        self._lent -= 1
        if pipe.held or len(self._spare) >= SPARE_PIPES:
            pipe.close()
        else:
            self._spare.append(pipe)

    def close(self) -> None:
        """Close the spare pipes."""
        while self._spare:
            self._spare.pop().close()

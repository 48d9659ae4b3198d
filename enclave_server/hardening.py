"""What every process of the server does for its own safety, and for its end."""

import contextlib
import ctypes
import os
import resource
import signal
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 1 << 20


def protect_memory() -> None:
    """Keep keys out of core dumps, and out of reach of other processes of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def end_with_parent(parent: int) -> None:
    """Be killed when the process `parent`, which forked this one, ends in whatever way."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel knew
        os.kill(os.getpid(), signal.SIGKILL)


def give_back_memory() -> None:
    """Have large blocks go back to the kernel when they are freed, wherever mallopt is known.

    Else glibc keeps blocks of the sizes that it has seen, and a few long prompts make a process
    half as large again for good.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Hold back signals to end while a process is forked, whose handlers are not its own yet."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

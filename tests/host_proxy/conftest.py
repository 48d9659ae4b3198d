"""What the tests of host_proxy share."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from tests.support.host_proxy_process import listen_unix

HANGING_SECONDS = 90
"""Far above what any test of this room takes: one that lasts as long waits for what never comes."""


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """Have a test fail that hangs, in whichever call it does."""

    def hangs(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"nothing has come to an end in {HANGING_SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(HANGING_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def signals_kept() -> Iterator[None]:
    """Give the test's own process back what it does on signals."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    for number, handler in before:
        signal.signal(number, handler)


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[socket.socket]:
    with listen_unix(tmp_path / "up") as listener:
        yield listener

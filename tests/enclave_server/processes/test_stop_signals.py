"""Signals to end: counted instead of died of, waking whoever waits, and undone afterwards."""

import os
import signal
import socket
import time

import pytest

from enclave_server.processes.stop_signals import IGNORED, NUMBERS, StopSignals

HANDLED = (*NUMBERS, *IGNORED, signal.SIGCHLD)
LONG = 60.0  # seconds, in which a test that hangs fails


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in HANDLED]


def test_everything_is_as_before_afterwards() -> None:
    before, wakeup = handlers(), signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with StopSignals() as signals:
        assert all(signal.getsignal(number) is signal.SIG_IGN for number in IGNORED)
        assert all(signal.getsignal(number) == signals._note for number in NUMBERS)
        descriptors = [end.fileno() for end in (signals._wakeup, signals._written)]
        assert all(not os.get_blocking(descriptor) for descriptor in descriptors)
    assert handlers() == before
    assert signal.set_wakeup_fd(wakeup) == wakeup
    for descriptor in descriptors:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


@pytest.mark.parametrize("number", NUMBERS)
def test_signals_to_end_are_counted_and_wake(number: signal.Signals) -> None:
    with StopSignals() as signals:
        for count in (1, 2):
            os.kill(os.getpid(), number)
            begun = time.monotonic()
            signals.wait([], LONG)
            assert time.monotonic() - begun < LONG / 2
            assert signals.count == count
        begun = time.monotonic()
        signals.wait([], 0.01)  # what has woken it once does so no more
        assert time.monotonic() - begun >= 0.01


@pytest.mark.parametrize("number", [*IGNORED, signal.SIGCHLD])
def test_other_signals_end_nothing(number: signal.Signals) -> None:
    with StopSignals() as signals:
        os.kill(os.getpid(), number)
        signals.wait([], 0.01)
        assert signals.count == 0


def test_the_end_of_a_child_wakes() -> None:
    with StopSignals() as signals:
        child = os.fork()
        if child == 0:
            os._exit(0)
        begun = time.monotonic()
        signals.wait([], LONG)
        assert time.monotonic() - begun < LONG / 2
        os.waitpid(child, 0)
        assert signals.count == 0


def test_what_can_be_read_wakes_and_is_left_alone() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, StopSignals() as signals:
        theirs.send(b"x")
        begun = time.monotonic()
        signals.wait([ours], LONG)
        assert time.monotonic() - begun < LONG / 2
        assert ours.recv(2) == b"x"
        signals.wait([ours], 0)


def test_a_storm_of_signals_loses_none_and_blocks_nobody() -> None:
    with StopSignals() as signals:
        for _ in range(3000):
            os.kill(os.getpid(), signal.SIGTERM)
        signals.wait([], 0)
        assert signals.count == 3000

"""The loop: timers in order, calls from other threads, signals, and an end that leaves nothing."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from select import EPOLLIN

import pytest

from host_proxy.loop import Loop
from tests.support.host_proxy_process import DEADLINE


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    loop.later(DEADLINE, loop.stop)
    yield loop
    loop.shut_down()


class Told:
    """Keeps what it is told, and stops the loop."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self.events: list[int] = []

    def ready(self, events: int) -> None:
        self.events.append(events)
        self._loop.stop()


def test_timers_run_in_the_order_of_their_times_and_cancelled_ones_never(loop: Loop) -> None:
    ran: list[str] = []
    loop.later(0.03, lambda: ran.append("third"))
    loop.later(0.01, lambda: ran.append("first"))
    cancelled = loop.later(0.015, lambda: ran.append("cancelled"))
    loop.later(0.02, lambda: ran.append("second"))
    loop.later(0.04, loop.stop)
    cancelled.cancel()
    loop.run()
    assert ran == ["first", "second", "third"]


def test_a_stop_ends_the_timers_too(loop: Loop) -> None:
    ran: list[str] = []
    loop.later(0, loop.stop)
    loop.later(0.001, lambda: ran.append("late"))
    loop.run()
    assert ran == []


def test_every_is_again_and_again(loop: Loop) -> None:
    ran: list[int] = []

    def count() -> None:
        ran.append(len(ran))
        if len(ran) == 3:
            loop.stop()

    loop.every(0.001, count)
    loop.run()
    assert ran == [0, 1, 2]


def test_other_threads_wake_it(loop: Loop) -> None:
    ran: list[str] = []

    def finish() -> None:
        ran.append(threading.current_thread().name)
        loop.stop()

    thread = threading.Thread(target=lambda: loop.post(finish))
    loop.later(0, thread.start)
    loop.run()
    thread.join(DEADLINE)
    assert ran == [threading.current_thread().name]


def test_more_calls_than_its_pipe_holds_are_all_made(loop: Loop) -> None:
    made: list[int] = []
    for number in range(70_000):  # the pipe holds 65,536 bytes
        loop.post(lambda number=number: made.append(number))  # type: ignore[misc]
    loop.post(loop.stop)
    loop.run()
    assert made == list(range(70_000))


def test_a_thread_that_outlives_it_does_no_harm() -> None:
    loop = Loop()
    loop.shut_down()
    read_end, write_end = os.pipe2(os.O_NONBLOCK)  # numbers that the loop had
    loop.post(lambda: None)
    with pytest.raises(BlockingIOError):
        os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)


def test_signals_are_told_from_the_loop_and_given_back() -> None:
    loop = Loop()
    loop.later(DEADLINE, loop.stop)
    told: list[int] = []

    def tell(number: int) -> None:
        told.append(number)
        loop.stop()

    loop.on_signals(tell, signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGUSR2)
    loop.run()
    assert told == [signal.SIGUSR2]
    loop.shut_down()
    assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


def test_a_forgotten_descriptor_stays_open_and_is_told_of_no_more(loop: Loop) -> None:
    one, other = socket.socketpair()
    told = Told(loop)
    with one, other:
        loop.watch(one.fileno(), EPOLLIN, told)
        other.send(b"x")
        loop.run()
        assert told.events == [EPOLLIN]
        loop.forget(one.fileno())
        loop.forget(one.fileno())  # once more does no harm
        loop.later(0.02, loop.stop)
        loop.run()
        assert told.events == [EPOLLIN]
        assert one.recv(1) == b"x"


def test_what_is_awaited_of_a_descriptor_can_change(loop: Loop) -> None:
    one, other = socket.socketpair()
    told = Told(loop)
    with one, other:
        loop.watch(one.fileno(), EPOLLIN, told)
        loop.change(one.fileno(), 0)
        other.send(b"x")
        loop.later(0.02, loop.stop)
        loop.run()
        assert told.events == []
        loop.change(one.fileno(), EPOLLIN)
        loop.run()
        assert told.events == [EPOLLIN]
        loop.forget(one.fileno())


def test_a_paused_descriptor_is_told_of_nothing_until_it_is_resumed(loop: Loop) -> None:
    one, other = socket.socketpair()
    told = Told(loop)
    with one, other:
        loop.watch(one.fileno(), EPOLLIN, told)
        loop.pause(one.fileno())
        other.close()  # a hang-up, which epoll tells even when nothing is asked for
        loop.later(0.02, loop.stop)
        loop.run()
        assert told.events == []
        loop.resume(one.fileno(), EPOLLIN)
        loop.run()
        assert len(told.events) == 1
        loop.forget(one.fileno())


def test_a_socket_that_is_closed_in_a_batch_keeps_its_number_until_its_end(loop: Loop) -> None:
    """Else a new socket could get the number, and an event that was meant for the old one."""
    numbers: list[int] = []

    class Closing:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock

        def ready(self, events: int) -> None:
            number = self.sock.fileno()
            loop.close(self.sock)
            with socket.socket() as new:
                numbers.append(number)
                assert new.fileno() not in numbers
            loop.later(0, loop.stop)

    pairs = [socket.socketpair() for _ in range(2)]
    for one, other in pairs:
        loop.watch(one.fileno(), EPOLLIN, Closing(one))
        other.send(b"x")
    loop.run()
    assert len(numbers) == 2
    assert [one.fileno() for one, _ in pairs] == [-1, -1]
    for _, other in pairs:
        other.close()


def test_what_is_to_be_closed_is_closed_at_the_end_as_well() -> None:
    loop = Loop()
    one, other = socket.socketpair()
    loop.watch(one.fileno(), EPOLLIN, Told(loop))
    loop.close(one)
    loop.shut_down()
    assert one.fileno() == -1
    assert other.recv(1) == b""
    other.close()


def test_cancelled_timers_do_not_keep_it_awake(loop: Loop) -> None:
    """It waits for the next one that counts, and is not called before."""
    woken: list[str] = []
    for _ in range(5):
        loop.later(0.01, lambda: woken.append("cancelled")).cancel()
    loop.later(0.05, loop.stop)
    begun = time.monotonic()
    loop.run()
    assert woken == []
    assert time.monotonic() - begun >= 0.05


def test_a_signal_beside_a_full_pipe_is_no_fault_to_tell_of(
    loop: Loop, capfd: pytest.CaptureFixture[str]
) -> None:
    told: list[int] = []
    loop.on_signals(told.append, signal.SIGUSR2)
    for _ in range(70_000):  # the pipe holds 65,536 bytes
        loop.post(lambda: None)
    os.kill(os.getpid(), signal.SIGUSR2)
    loop.post(loop.stop)
    loop.run()
    assert told == []
    assert capfd.readouterr().err == ""

"""One thread, one epoll instance: descriptors, timers, and wake-ups from signals and threads."""

import heapq
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock
from typing import Final, Protocol

EVENTS_AT_ONCE: Final = 256  # upper bound of one batch, so that timers are looked at in between


class Handler(Protocol):
    """What is told of the events of one descriptor."""

    def ready(self, events: int) -> None:
        """Handle epoll's `events`; level-triggered, so what stays undone is told again."""


class Timer:
    """A call that is due at `when` (monotonic seconds) unless it is cancelled."""

    __slots__ = ("callback", "when")

    def __init__(self, when: float, callback: Callable[[], None]) -> None:
        self.when = when
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Make the call not happen; harmless when it has."""
        self.callback = None

    def __lt__(self, other: "Timer") -> bool:
        return self.when < other.when


class Loop:
    """Level-triggered epoll: it tells a handler again whatever it left undone."""

    __slots__ = ("_doomed", "_epoll", "_handlers", "_running", "_timers", "_waker")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._timers: list[Timer] = []
        self._doomed: list[socket.socket] = []
        self._waker = Waker()
        self.watch(self._waker.fd, select.EPOLLIN, self._waker)

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Tell `handler` of the events of a descriptor."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def change(self, fd: int, events: int) -> None:
        """Await other events; hang-up and error are always told."""
        self._epoll.modify(fd, events)

    def pause(self, fd: int) -> None:
        """Tell nothing of the descriptor, not even its hang-up, until `resume`."""
        self._epoll.unregister(fd)

    def resume(self, fd: int, events: int) -> None:
        """Undo `pause`."""
        self._epoll.register(fd, events)

    def forget(self, fd: int) -> None:
        """Stop telling anything of a descriptor that remains open."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Close a socket once the batch in hand is done.

        Not at once: its number could be given out again while an event of the old socket is
        still to be told, and the new one would be taken for hung up.
        """
        self._handlers.pop(sock.fileno(), None)
        self._doomed.append(sock)

    def later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in `delay` seconds."""
        timer = Timer(time.monotonic() + delay, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def every(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` in `seconds` and then again and again."""

        def again() -> None:
            callback()
            self.later(seconds, again)

        self.later(seconds, again)

    def post(self, callback: Callable[[], None]) -> None:
        """Call `callback` from the loop; the one method that other threads may use."""
        self._waker.post(callback)

    def on_signals(self, callback: Callable[[int], None], *signals: signal.Signals) -> None:
        """Tell `callback` the number of each of `signals`, from the loop."""
        self._waker.take_signals(callback, signals)

    def stop(self) -> None:
        """Leave `run` after the batch in hand."""
        self._running = False

    def run(self) -> None:
        """Serve until `stop`."""
        self._running = True
        poll, handlers, doomed = self._epoll.poll, self._handlers, self._doomed
        while self._running:
            for fd, events in poll(self._run_timers(), EVENTS_AT_ONCE):
                handler = handlers.get(fd)
                if handler is not None:
                    handler.ready(events)
            if doomed:
                for sock in doomed:
                    sock.close()
                doomed.clear()

    def _run_timers(self) -> float | None:
        """Call what is due and return the seconds that epoll may wait, None for ever."""
        timers = self._timers
        while timers and self._running:
            first = timers[0]
            if first.callback is not None:
                delay = first.when - time.monotonic()
                if delay > 0:
                    return 0 if self._doomed else delay
            heapq.heappop(timers)
            callback, first.callback = first.callback, None
            if callback is not None:
                callback()
        return 0 if self._doomed or not self._running else None

    def shut_down(self) -> None:
        """Release the loop's own descriptors."""
        for sock in self._doomed:
            sock.close()
        self._doomed.clear()
        self._waker.close()
        self._epoll.close()


class Waker:
    """A pipe by which signal handlers and threads wake the loop."""

    __slots__ = ("_calls", "_lock", "_on_signal", "_open", "_read_end", "_signals", "_write_end")

    def __init__(self) -> None:
        self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = Lock()  # a thread may outlive the loop: it must not write to a reused number
        self._open = True
        self._on_signal: Callable[[int], None] | None = None
        self._signals: tuple[signal.Signals, ...] = ()

    @property
    def fd(self) -> int:
        """The end to watch."""
        return self._read_end

    def post(self, callback: Callable[[], None]) -> None:
        """Queue a call and wake the loop."""
        with self._lock, suppress(BlockingIOError):  # a full pipe wakes the loop as well
            if self._open:
                self._calls.put(callback)
                os.write(self._write_end, b"\0")

    def take_signals(
        self, callback: Callable[[int], None], signals: tuple[signal.Signals, ...]
    ) -> None:
        """Have the interpreter write the number of each signal into the pipe."""
        self._on_signal, self._signals = callback, signals
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number in signals:
            signal.signal(number, lambda *_: None)

    def ready(self, events: int) -> None:
        """Run what was queued and tell the signals that came."""
        for number in os.read(self._read_end, 4096):
            if number and self._on_signal is not None:
                self._on_signal(number)
        while not self._calls.empty():
            self._calls.get()()

    def close(self) -> None:
        """Give the signals back and close the pipe."""
        if self._signals:
            signal.set_wakeup_fd(-1)
            for number in self._signals:
                signal.signal(number, signal.SIG_DFL)
        with self._lock:
            self._open = False
            os.close(self._read_end)
            os.close(self._write_end)

"""Letting connections end: before the process stops, or while its upstream is restarted."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from host_proxy.log import log
from host_proxy.loop import Loop, Timer
from host_proxy.routes import Route

LOOK_SECONDS: Final = 0.05
LONGEST_HOLD_SECONDS: Final = 300.0  # whoever asked for it may have died: clients wait no longer


class Drain:
    """Looks after routes until no connection is left or the time is up, then calls `done`.

    What is silent after an answer is a connection that a front keeps for its next request. It
    would last for the whole time, so it is released.
    """

    __slots__ = ("_deadline", "_done", "_loop", "_quiet_seconds", "_routes", "_timer")

    def __init__(
        self,
        loop: Loop,
        routes: Sequence[Route],
        quiet_seconds: float,
        deadline: float,
        done: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._routes = routes
        self._quiet_seconds = quiet_seconds
        self._deadline = deadline  # monotonic seconds
        self._done = done
        self._timer: Timer | None = None

    def look(self) -> None:
        """Release what is silent, and look again soon unless there is nothing to wait for."""
        now = time.monotonic()
        for route in self._routes:
            route.release(now, self._quiet_seconds)
        if now < self._deadline and any(route.active for route in self._routes):
            self._timer = self._loop.later(LOOK_SECONDS, self.look)
        else:
            self._done()

    def cancel(self) -> None:
        """Look no more, and do not call `done`."""
        if self._timer is not None:
            self._timer.cancel()


class Hold:
    """The pause of an ingress before a planned restart of its upstream.

    New clients wait in the backlog. What is under way may end, for `grace_seconds` at most.
    """

    __slots__ = ("_drain", "_grace_seconds", "_loop", "_quiet_seconds", "_routes", "_say", "_timer")

    def __init__(
        self,
        loop: Loop,
        routes: Sequence[Route],
        *,
        quiet_seconds: float,
        grace_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._routes = routes
        self._quiet_seconds = quiet_seconds
        self._grace_seconds = grace_seconds
        self._say = say  # to the service manager
        self._drain: Drain | None = None
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Accept nothing more until `end`; harmless when that is so already."""
        if self._drain is not None:
            return
        for route in self._routes:
            route.hold()
        count = sum(route.active for route in self._routes)
        log("held", connections=count)
        self._say(f"Held: {count} connection(s)")
        self._timer = self._loop.later(LONGEST_HOLD_SECONDS, self.end)
        deadline = time.monotonic() + self._grace_seconds
        self._drain = Drain(self._loop, self._routes, self._quiet_seconds, deadline, self._drained)
        self._drain.look()

    def end(self) -> None:
        """Accept again; harmless when that is so already."""
        if self._drain is None:
            return
        self.leave()
        for route in self._routes:
            route.resume()
        log("resumed")
        self._say("Carrying on")

    def leave(self) -> None:
        """Forget the pause, the process being about to stop."""
        for pending in (self._drain, self._timer):
            if pending is not None:
                pending.cancel()
        self._drain = self._timer = None

    def _drained(self) -> None:
        """End what has outlasted its time; clients whose upstream is away go on waiting for it."""
        for route in self._routes:
            route.end_pairs()
        log("drained")
        self._say("Held: drained")

"""A route: a listening socket, the upstream that its connections go to, and those connections."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from select import EPOLLERR, EPOLLIN
from socket import AF_UNIX
from typing import Final

from host_proxy.addresses import Address, tune
from host_proxy.carrying import Ending, Pair, reset_on_close
from host_proxy.counters import DOWNWARD, UPWARD, RouteCounters
from host_proxy.dialing import Dial, Patience
from host_proxy.loop import Loop
from host_proxy.pipes import PipePool
from host_proxy.resolver import Resolver

ACCEPTS_AT_ONCE: Final = 64  # from one listener, before others get their turn
PAUSE_SECONDS: Final = 0.1  # without accepting, when the process is out of descriptors


@dataclass(frozen=True, slots=True)
class Machinery:
    """What all routes share."""

    loop: Loop
    resolver: Resolver
    pipes: PipePool
    may_open: Callable[["Route"], bool]  # whether the route may have one more connection
    starved: Callable[[], None]  # told when a client cannot be accepted for want of descriptors


class Route:
    """Accepts connections and carries each to a connection of its own, dialled anew."""

    def __init__(
        self,
        machinery: Machinery,
        name: str,
        listener: socket.socket,
        upstream: Address,
        patience: Patience,
    ) -> None:
        self.counters = RouteCounters(name)
        self.pairs: set[Pair] = set()
        self.waiting: set[Waiting] = set()
        self._machinery = machinery
        self.listener = listener
        self._upstream = upstream
        self._patience = patience
        self._listening = True
        machinery.loop.watch(listener.fileno(), EPOLLIN, self)

    @property
    def active(self) -> int:
        """How many connections there are, those being connected included."""
        return len(self.pairs) + len(self.waiting)

    def ready(self, events: int) -> None:
        """Accept what has come."""
        if self.counters.held:  # since this batch of events began
            return
        for _ in range(ACCEPTS_AT_ONCE):
            try:
                sock, _ = self.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                self._pause()
                return
            self._accept(sock)

    def hold(self) -> None:
        """Leave new clients in the backlog until `resume`."""
        self.counters.held = True
        if self._listening:
            self._machinery.loop.change(self.listener.fileno(), 0)

    def resume(self) -> None:
        """Accept again."""
        self.counters.held = False
        if self._listening:
            self._machinery.loop.change(self.listener.fileno(), EPOLLIN)

    def stop_listening(self) -> None:
        """Accept nothing more."""
        if self._listening:
            self._listening = False
            self._machinery.loop.close(self.listener)

    def connected(self, client: socket.socket, upstream: socket.socket) -> None:
        """Begin to carry between two connected sockets."""
        machinery = self._machinery
        self.pairs.add(Pair(machinery.loop, machinery.pipes, (client, upstream), self._over))

    def unreachable(self, client: socket.socket) -> None:
        """Turn away a client whose upstream could not be reached."""
        self.counters.endings[Ending.UNREACHABLE] += 1
        reset_on_close(client)
        self._machinery.loop.close(client)

    def sweep(self, now: float, idle_seconds: float) -> None:
        """End the connections on which nothing has moved for too long."""
        for pair in [pair for pair in self.pairs if pair.quiet_for(now) > idle_seconds]:
            pair.finish(Ending.IDLE)

    def release(self, now: float, quiet_seconds: float) -> None:
        """End the connections that have been silent for so long after an answer."""
        for pair in [pair for pair in self.pairs if pair.answered_for(now) >= quiet_seconds]:
            pair.finish(Ending.RELEASED)

    def end_pairs(self) -> None:
        """End every connection that has its upstream, the time for draining being over."""
        for pair in tuple(self.pairs):
            pair.finish(Ending.DRAINED)

    def end_all(self) -> None:
        """End every connection, those being connected included."""
        self.end_pairs()
        for waiting in tuple(self.waiting):
            waiting.give_up(Ending.DRAINED)

    def snapshot(self) -> RouteCounters:
        """Return the counters with what the open connections have carried so far."""
        counters = RouteCounters(self.counters.name)
        counters.accepted, counters.refused = self.counters.accepted, self.counters.refused
        counters.active, counters.held = self.active, self.counters.held
        counters.starved = self.counters.starved
        counters.endings.update(self.counters.endings)
        counters.failures.update(self.counters.failures)
        counters.carried.update(self.counters.carried)
        for pair in self.pairs:
            _add_carried(counters, pair)
        return counters

    def _accept(self, sock: socket.socket) -> None:
        if not self._machinery.may_open(self):
            self.counters.refused += 1
            sock.close()
            return
        self.counters.accepted += 1
        sock.setblocking(False)
        if sock.family == AF_UNIX:  # does not inherit it from the listener, as TCP does
            tune(sock)
        Waiting(self, self._machinery, sock).start(self._upstream, self._patience)

    def _over(self, pair: Pair, ending: Ending) -> None:
        self.pairs.discard(pair)
        self.counters.endings[ending] += 1
        _add_carried(self.counters, pair)

    def _pause(self) -> None:
        """Out of descriptors: leave clients in the backlog for a moment, do not spin."""
        loop, fd = self._machinery.loop, self.listener.fileno()
        self.counters.starved += 1
        self._machinery.starved()

        def go_on() -> None:
            if self._listening and not self.counters.held:
                loop.change(fd, EPOLLIN)

        loop.change(fd, 0)
        loop.later(PAUSE_SECONDS, go_on)


class Waiting:
    """A client whose upstream is being dialled; nothing is read from it yet."""

    __slots__ = ("_client", "_dial", "_machinery", "_route", "_settled")

    def __init__(self, route: Route, machinery: Machinery, client: socket.socket) -> None:
        self._route = route
        self._machinery = machinery
        self._client = client
        self._dial: Dial | None = None
        self._settled = False

    def start(self, upstream: Address, patience: Patience) -> None:
        """Dial; a Unix upstream answers before this returns."""
        failures = self._route.counters.failures
        self._dial = Dial(
            self._machinery.loop,
            self._machinery.resolver,
            upstream,
            patience,
            self._done,
            lambda failure: failures.update((failure,)),
        )
        self._dial.start()
        if not self._settled:
            self._route.waiting.add(self)
            self._machinery.loop.watch(self._client.fileno(), 0, self)

    def ready(self, events: int) -> None:
        """Notice a client that was reset; one that has only hung up may still be served."""
        if events & EPOLLERR:
            self.give_up(Ending.ABORTED)
        else:
            self._machinery.loop.forget(self._client.fileno())

    def give_up(self, ending: Ending) -> None:
        """Stop dialling and close the client."""
        if self._dial is not None:
            self._dial.cancel()
        self._settle()
        self._route.counters.endings[ending] += 1
        reset_on_close(self._client)
        self._machinery.loop.close(self._client)

    def _settle(self) -> None:
        self._settled = True
        self._route.waiting.discard(self)

    def _done(self, upstream: socket.socket | None) -> None:
        self._settle()
        self._machinery.loop.forget(self._client.fileno())
        if upstream is None:
            self._route.unreachable(self._client)
        else:
            self._route.connected(self._client, upstream)


def _add_carried(counters: RouteCounters, pair: Pair) -> None:
    counters.carried[UPWARD] += pair.client.carried
    counters.carried[DOWNWARD] += pair.upstream.carried

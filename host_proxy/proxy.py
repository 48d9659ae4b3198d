"""The process that carries: its routes, its signals, its sweep for idle connections, its end."""

import signal
import socket
import time
from collections.abc import Callable, Mapping
from math import inf
from typing import Final

from host_proxy.addresses import Address, AddressError, ListenError, Tcp
from host_proxy.counters import prometheus_text
from host_proxy.dialing import Patience
from host_proxy.draining import Drain, Hold
from host_proxy.listeners import Listeners
from host_proxy.log import Seldom, log
from host_proxy.loop import Loop
from host_proxy.metrics import MetricsServer
from host_proxy.options import Options
from host_proxy.pipes import PipePool
from host_proxy.resolver import GetAddrInfo, Resolver
from host_proxy.routes import Machinery, Route
from host_proxy.shares import Shares
from host_proxy.systemd import Notifier

INGRESS: Final = "ingress"
SWEEPS_PER_IDLE_TIME: Final = 4  # an idle connection lives at most a quarter longer than allowed
LONGEST_SWEEP_SECONDS: Final = 10.0


class Proxy:
    """Everything the process does between its start and its exit."""

    def __init__(
        self,
        options: Options,
        *,
        passed: Mapping[str, socket.socket] | None = None,
        notifier: Notifier | None = None,
        watchdog: float | None = None,
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
    ) -> None:
        self._options = options
        self._listeners = Listeners(passed or {})
        self._notifier = notifier or Notifier({})
        self._watchdog = watchdog
        self._loop = Loop()
        self._pipes = PipePool()
        self._routes: list[Route] = []
        self._machinery = Machinery(
            self._loop,
            Resolver(self._loop, getaddrinfo),
            self._pipes,
            Shares(options.connections, self._routes).may_open,
            Seldom("out_of_descriptors").tell,
        )
        self._ingress: list[Route] = []  # one or none
        self._egress: list[Route] = []
        self._metrics: MetricsServer | None = None
        self._draining = False
        self._hold = Hold(
            self._loop,
            self._ingress,
            quiet_seconds=options.quiet_seconds,
            grace_seconds=options.grace_seconds,
            say=self._say,
        )

    def open(self) -> None:
        """Listen everywhere, or raise ListenError or AddressError and listen nowhere."""
        try:
            self._open()
        except (ListenError, AddressError):
            self._close_listeners()
            self._loop.shut_down()
            raise

    def run(self) -> int:
        """Serve until SIGTERM or SIGINT and the drain that follows; return the exit code."""
        self._loop.on_signals(self._signalled, *_ACTIONS)
        idle = self._options.idle_seconds
        self._loop.every(min(idle / SWEEPS_PER_IDLE_TIME, LONGEST_SWEEP_SECONDS), self._sweep)
        self._notifier.live(self._loop.every, self._watchdog)
        self._notifier.tell("READY=1", f"STATUS=Carrying on {len(self._routes)} route(s)")
        log("ready", routes=[route.counters.name for route in self._routes])
        self._loop.run()
        self._close_listeners()
        self._loop.shut_down()
        self._pipes.close()
        self._report("stopped")
        return 0

    def _open(self) -> None:
        options = self._options
        if options.listen is not None and options.connect is not None:
            patience = Patience(options.connect_seconds, options.retry_seconds)
            self._ingress.append(self._route(INGRESS, options.listen, options.connect, patience))
        for hole in options.egress:
            patience = Patience(options.connect_seconds, retry=0)
            name = _egress_name(hole.target)
            self._egress.append(self._route(name, hole.listen, hole.target, patience))
        if options.metrics is not None:
            listener = self._listeners.open(options.metrics)
            self._metrics = MetricsServer(self._loop, listener, self._prometheus)

    def _route(self, name: str, listen_at: Address, upstream: Address, patience: Patience) -> Route:
        listener = self._listeners.open(listen_at)
        route = Route(self._machinery, name, listener, upstream, patience)
        self._routes.append(route)
        return route

    def _signalled(self, number: int) -> None:
        _ACTIONS[signal.Signals(number)](self)

    def _pause(self) -> None:
        if not self._draining:
            self._hold.begin()

    def _resume(self) -> None:
        if not self._draining:
            self._hold.end()

    def _stop(self) -> None:
        """Accept nothing more and leave when the last connection has ended; asked again, at once.

        What is under way may yet need a way out, so those stay open until it has ended.
        """
        if self._draining:
            self._end_all()
            return
        self._draining = True
        self._hold.leave()
        self._notifier.tell("STOPPING=1")
        log("draining", connections=sum(route.active for route in self._routes))
        self._stop_listening(self._ingress)
        deadline = time.monotonic() + self._options.grace_seconds
        quiet = self._options.quiet_seconds
        Drain(
            self._loop, self._ingress, quiet, deadline, lambda: self._drain_egress(deadline)
        ).look()

    def _drain_egress(self, deadline: float) -> None:
        """Let ways out end; where they have no ingress, silence may be that of a provider's."""
        self._stop_listening(self._egress)
        quiet = self._options.quiet_seconds if self._ingress else inf
        Drain(self._loop, self._egress, quiet, deadline, self._end_all).look()

    def _end_all(self) -> None:
        for route in self._routes:
            route.end_all()
        self._loop.stop()

    def _stop_listening(self, routes: list[Route]) -> None:
        for route in routes:
            route.stop_listening()
            self._listeners.forget(route.listener)

    def _close_listeners(self) -> None:
        self._stop_listening(self._routes)
        if self._metrics is not None:
            self._metrics.close()
        self._listeners.forget_all()

    def _sweep(self) -> None:
        now = time.monotonic()
        for route in self._routes:
            route.sweep(now, self._options.idle_seconds)

    def _say(self, status: str) -> None:
        self._notifier.tell(f"STATUS={status}")

    def _report(self, event: str = "counters") -> None:
        log(
            event,
            pipes=self._pipes.lent,
            routes=[route.snapshot().as_dict() for route in self._routes],
        )

    def _prometheus(self) -> bytes:
        return prometheus_text(route.snapshot() for route in self._routes)


_ACTIONS: Final[dict[signal.Signals, Callable[[Proxy], None]]] = {
    signal.SIGTERM: Proxy._stop,
    signal.SIGINT: Proxy._stop,
    signal.SIGUSR1: Proxy._report,
    signal.SIGUSR2: Proxy._pause,
    signal.SIGCONT: Proxy._resume,
}


def _egress_name(target: Address) -> str:
    return f"{target.host}:{target.port}" if isinstance(target, Tcp) else str(target)

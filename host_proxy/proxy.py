"""The process: its routes, its signals, its sweep for idle connections, its orderly end."""

import signal
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from host_proxy.addresses import (
    Activated,
    Address,
    AddressError,
    ListenError,
    Tcp,
    Unix,
    VsockUds,
    listen,
    prepare_listener,
)
from host_proxy.counters import prometheus_text
from host_proxy.dialing import Patience
from host_proxy.log import log
from host_proxy.loop import Loop
from host_proxy.metrics import MetricsServer
from host_proxy.options import Options
from host_proxy.pipes import PipePool
from host_proxy.resolver import GetAddrInfo, Resolver
from host_proxy.routes import Machinery, Route
from host_proxy.systemd import Notifier

INGRESS: Final = "ingress"
SWEEPS_PER_IDLE_TIME: Final = 4  # an idle connection lives at most a quarter longer than allowed
LONGEST_SWEEP_SECONDS: Final = 10.0
DRAIN_LOOK_SECONDS: Final = 0.05


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
        self._passed = dict(passed or {})
        self._notifier = notifier or Notifier({})
        self._watchdog = watchdog
        self._loop = Loop()
        self._pipes = PipePool()
        self._machinery = Machinery(
            self._loop, Resolver(self._loop, getaddrinfo), self._pipes, self._may_open
        )
        self._routes: list[Route] = []
        self._metrics: MetricsServer | None = None
        self._paths: list[Path] = []  # of the Unix sockets that this process made
        self._draining = False

    def open(self) -> None:
        """Listen everywhere, or raise ListenError or AddressError and listen nowhere."""
        options = self._options
        try:
            if options.listen is not None and options.connect is not None:
                patience = Patience(options.connect_seconds, options.retry_seconds)
                self._add_route(INGRESS, options.listen, options.connect, patience)
            for hole in options.egress:
                patience = Patience(options.connect_seconds, retry=0)
                self._add_route(_egress_name(hole.target), hole.listen, hole.target, patience)
            if options.metrics is not None:
                listener = self._listener(options.metrics)
                self._metrics = MetricsServer(self._loop, listener, self._prometheus)
        except (ListenError, AddressError):
            self._stop_listening()
            self._loop.shut_down()
            raise

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT and the drain that follows."""
        self._loop.on_signals(self._signalled, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        idle = self._options.idle_seconds
        self._every(min(idle / SWEEPS_PER_IDLE_TIME, LONGEST_SWEEP_SECONDS), self._sweep)
        if self._watchdog is not None:
            self._every(self._watchdog / 2, lambda: self._notifier.tell("WATCHDOG=1"))
        self._notifier.tell("READY=1", f"STATUS=Carrying on {len(self._routes)} route(s)")
        log("ready", routes=[route.counters.name for route in self._routes])
        self._loop.run()
        self._loop.shut_down()
        self._pipes.close()
        self._report("stopped")

    def _add_route(
        self, name: str, listen_at: Address, upstream: Address, patience: Patience
    ) -> None:
        listener = self._listener(listen_at)
        self._routes.append(Route(self._machinery, name, listener, upstream, patience))

    def _listener(self, address: Address) -> socket.socket:
        if isinstance(address, Activated):
            listener = self._passed.pop(address.name, None)
            if listener is None:
                raise AddressError(f"systemd passed no socket of the name {address.name!r}")
            return prepare_listener(listener)
        listener = listen(address)
        if isinstance(address, (Unix, VsockUds)):
            self._paths.append(Path(listener.getsockname()))
        log("listening", address=_actual(address, listener))
        return listener

    def _may_open(self) -> bool:
        return self._active() < self._options.connections

    def _signalled(self, number: int) -> None:
        if number == signal.SIGUSR1:
            self._report("counters")
        elif self._draining:
            self._end_all()
        else:
            self._drain()

    def _drain(self) -> None:
        """Accept nothing more and leave when the last connection has ended, or the time is up."""
        self._draining = True
        self._notifier.tell("STOPPING=1")
        self._stop_listening()
        log("draining", connections=self._active())
        self._loop.later(self._options.grace_seconds, self._end_all)
        self._leave_when_done()

    def _leave_when_done(self) -> None:
        if self._active():
            self._loop.later(DRAIN_LOOK_SECONDS, self._leave_when_done)
        else:
            self._loop.stop()

    def _end_all(self) -> None:
        for route in self._routes:
            route.end_all()
        self._loop.stop()

    def _stop_listening(self) -> None:
        for route in self._routes:
            route.stop_listening()
        if self._metrics is not None:
            self._metrics.close()
            self._metrics = None
        while self._paths:
            self._paths.pop().unlink(missing_ok=True)

    def _active(self) -> int:
        return sum(route.active for route in self._routes)

    def _sweep(self) -> None:
        now = time.monotonic()
        for route in self._routes:
            route.sweep(now, self._options.idle_seconds)

    def _every(self, seconds: float, callback: Callable[[], object]) -> None:
        def again() -> None:
            callback()
            self._loop.later(seconds, again)

        self._loop.later(seconds, again)

    def _report(self, event: str) -> None:
        log(
            event,
            pipes=self._pipes.lent,
            routes=[route.snapshot().as_dict() for route in self._routes],
        )

    def _prometheus(self) -> bytes:
        return prometheus_text(route.snapshot() for route in self._routes)


def _egress_name(target: Address) -> str:
    return f"{target.host}:{target.port}" if isinstance(target, Tcp) else str(target)


def _actual(address: Address, listener: socket.socket) -> str:
    """Return the address with the port that the system chose in place of 0."""
    if isinstance(address, Tcp):
        return str(Tcp(address.host, listener.getsockname()[1]))
    return str(address)

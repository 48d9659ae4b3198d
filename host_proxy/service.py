"""What surrounds the work of a process that carries nothing: scrapers, signals, signs of life."""

import signal
from collections.abc import Callable, Mapping
from socket import socket

from host_proxy.addresses import Address
from host_proxy.listeners import Listeners
from host_proxy.log import log
from host_proxy.loop import Loop
from host_proxy.metrics import MetricsServer
from host_proxy.resolver import Resolver
from host_proxy.systemd import Notifier


class Service:
    """The loop in which such a process works, from its first listener to its last log line."""

    def __init__(
        self,
        *,
        metrics: Address | None = None,
        passed: Mapping[str, socket] | None = None,
        notifier: Notifier | None = None,
        watchdog: float | None = None,
    ) -> None:
        self.loop = Loop()
        self.resolver = Resolver(self.loop)
        self.notifier = notifier or Notifier({})
        self._metrics_at = metrics
        self._listeners = Listeners(passed or {})
        self._watchdog = watchdog
        self._metrics: MetricsServer | None = None

    def open(self, prometheus: Callable[[], bytes]) -> None:
        """Listen for scrapers, or raise ListenError or AddressError."""
        if self._metrics_at is not None:
            listener = self._listeners.open(self._metrics_at)
            self._metrics = MetricsServer(self.loop, listener, prometheus)

    def run(self, begin: Callable[[], None], counts: Callable[[], Mapping[str, object]]) -> None:
        """Begin; serve until SIGTERM, SIGINT or a stop of the loop; `counts` are for the log."""

        def signalled(number: int) -> None:
            if number == signal.SIGUSR1:
                log("counters", **counts())
            else:
                self.loop.stop()

        self.loop.on_signals(signalled, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        self.notifier.live(self.loop.every, self._watchdog)
        self.loop.post(begin)  # from the loop, which it may stop
        self.loop.run()
        if self._metrics is not None:
            self._metrics.close()
        self._listeners.forget_all()
        self.loop.shut_down()
        log("stopped", **counts())

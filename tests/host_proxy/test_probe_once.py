"""A probe tells once: an event that was under way when it ended changes nothing."""

import socket
from pathlib import Path
from select import EPOLLIN

from host_proxy.addresses import Unix
from host_proxy.loop import Loop
from host_proxy.probe import Outcome, Probe
from host_proxy.resolver import Resolver
from tests.support.host_proxy_process import DEADLINE, listen_unix


def test_an_event_after_the_end_is_nothing(tmp_path: Path) -> None:
    told: list[Outcome] = []
    loop = Loop()

    def done(outcome: Outcome, _: float) -> None:
        told.append(outcome)
        loop.stop()

    with listen_unix(tmp_path / "up") as listener:
        probe = Probe(loop, Resolver(loop), Unix(str(tmp_path / "up")), DEADLINE, done)
        probe.ready(EPOLLIN)  # nor before there is a connection
        loop.later(0, probe.start)
        loop.later(0.01, lambda: closed(listener))
        loop.run()
        probe.ready(EPOLLIN)
    loop.shut_down()
    assert told == [Outcome.UNHEALTHY]


def closed(listener: socket.socket) -> None:
    """Take a connection's question and end it without an answer."""
    connection, _ = listener.accept()
    with connection:
        connection.recv(1000)

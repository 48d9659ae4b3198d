"""What surrounds the work of a process that carries nothing, in the test's own process."""

import errno
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from host_proxy.addresses import Activated, AddressError, ListenError, Tcp, Unix
from host_proxy.loop import Loop
from host_proxy.service import Service
from host_proxy.systemd import Notifier
from tests.host_proxy.test_systemd import Manager
from tests.support.host_proxy_process import connect_unix, in_background, read_all

pytestmark = pytest.mark.usefixtures("signals_kept")

TEXT = b"some_total 7\n"


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return the events that were logged, without their time."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_begins_counts_when_asked_and_ends_when_told(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service()
    counted: list[int] = []

    def counts() -> dict[str, int]:
        counted.append(0)
        return {"times": len(counted)}

    def begin() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        service.loop.later(0.05, lambda: os.kill(os.getpid(), number))

    service.open(lambda: TEXT)
    service.run(begin, counts)
    assert logged(capsys) == [
        {"event": "counters", "times": 1},
        {"event": "stopped", "times": 2},
    ]
    assert signal.getsignal(number) is signal.SIG_DFL  # the loop has been shut down


def test_a_manager_hears_twice_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def every(loop: Loop, seconds: float, callback: Callable[[], object]) -> None:
        asked.append(seconds)
        callback()

    monkeypatch.setattr(Loop, "every", every)
    manager = Manager(tmp_path / "notify")
    service = Service(notifier=Notifier(manager.environment), watchdog=30.0)
    service.run(service.loop.stop, dict)
    assert asked == [15.0]
    assert manager.hears() == ["WATCHDOG=1"]
    manager.close()


def test_without_a_watchdog_nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Loop, "every", lambda *_: pytest.fail("there is no watchdog"))
    service = Service()
    service.run(service.loop.stop, dict)


@pytest.mark.parametrize("passed", [False, True])
def test_scrapers_are_served_until_the_end(tmp_path: Path, passed: bool) -> None:
    path = tmp_path / "metrics"
    if passed:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        service = Service(metrics=Activated("metrics"), passed={"metrics": listener})
    else:
        service = Service(metrics=Unix(str(path)))
    service.open(lambda: TEXT)
    answers: list[bytes] = []

    def scrape() -> None:
        with connect_unix(path) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            answers.append(read_all(sock))
        service.loop.post(service.loop.stop)

    def begin() -> None:
        in_background(scrape)

    service.run(begin, dict)
    assert [answer.partition(b"\r\n\r\n")[2] for answer in answers] == [TEXT]
    assert path.exists() == passed  # its own path is gone, and systemd's stays
    with socket.socket(socket.AF_UNIX) as late:
        assert late.connect_ex(str(path)) in (errno.ENOENT, errno.ECONNREFUSED)


def test_an_address_that_cannot_be_listened_on_is_said(tmp_path: Path) -> None:
    with pytest.raises(ListenError):
        Service(metrics=Unix(str(tmp_path / "absent/metrics"))).open(lambda: TEXT)
    for address in (Activated("nothing"), Tcp("a.name", 0)):
        with pytest.raises(AddressError):
            Service(metrics=address).open(lambda: TEXT)

"""The process that asks: when it is content, when it ends, and what it tells meanwhile."""

import contextlib
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from host_proxy.addresses import Unix
from host_proxy.exposition import text
from host_proxy.options import Questions
from host_proxy.probe import Outcome
from host_proxy.service import Service
from host_proxy.watch import UNANSWERED, Tally, Watch, families
from tests.host_proxy.test_metrics import scrape
from tests.host_proxy.test_service import logged
from tests.host_proxy.test_systemd import Manager
from tests.support.enclave import running_enclave
from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    connect_unix,
    in_background,
    listen_unix,
    running,
    until,
)

GOOD = b"HTTP/1.1 200 OK\r\n\r\n"
BAD = b"no HTTP at all"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"


class Upstream:
    """Answers each question with what the test has set, or not at all."""

    def __init__(self, path: Path) -> None:
        self.answer = GOOD
        self.asked = 0
        self._path = path
        self._listener = listen_unix(path)
        self._stopped = threading.Event()
        self._thread = in_background(self._serve)

    def close(self) -> None:
        self._stopped.set()
        connect_unix(self._path).close()
        self._thread.join(DEADLINE)
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(OSError), accept(self._listener) as sock:
                sock.recv(1000)
                self.asked += 1
                sock.sendall(self.answer)


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Upstream]:
    upstream = Upstream(tmp_path / "up")
    yield upstream
    upstream.close()


def probing(tmp_path: Path, *more: str) -> tuple[str, ...]:
    return ("--probe", "0.02", "--connect", f"unix:{tmp_path / 'up'}", *more)


def test_it_asks_again_and_again_and_stops_when_told(tmp_path: Path, asked: Upstream) -> None:
    with running(*probing(tmp_path)) as proxy:
        until(lambda: asked.asked >= 5)
        proxy.signal(signal.SIGUSR1)
        assert proxy.event("counters")["probes"]["healthy"] >= 4
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert [e["outcome"] for e in proxy.events("answered")] == ["healthy"]
        assert proxy.events("missed") == []


def test_misses_in_a_row_end_it(tmp_path: Path, asked: Upstream) -> None:
    with running(*probing(tmp_path, "--probe-misses", "4")) as proxy:
        proxy.event("answered")
        asked.answer = BAD
        assert proxy.wait() == UNANSWERED == 3
        assert [event["misses"] for event in proxy.events("missed")] == [1, 2, 3, 4]
        assert proxy.event("unanswered")["probes"]["missed"] == 4
        assert proxy.event("stopped")["misses"] == 4


def test_an_answer_in_between_begins_the_count_anew(tmp_path: Path, asked: Upstream) -> None:
    with running(*probing(tmp_path, "--probe-misses", "1000")) as proxy:
        proxy.event("answered")
        asked.answer = BAD
        proxy.event("missed", 3)
        asked.answer = GOOD
        proxy.event("answers_again")
        asked.answer = BAD
        until(lambda: [e["misses"] for e in proxy.events("missed")].count(1) == 2)


@pytest.mark.parametrize("answer", [BUSY, b""])
def test_a_full_server_lives(tmp_path: Path, asked: Upstream, answer: bytes) -> None:
    """To end it for that would let a flood of requests destroy its keys."""
    asked.answer = answer
    with running(*probing(tmp_path, "--probe-misses", "1")) as proxy:
        assert proxy.event("answered")["outcome"] == "unhealthy"
        until(lambda: asked.asked >= 5)
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
        assert proxy.event("stopped")["probes"]["missed"] == 0


def test_before_the_first_answer_misses_are_only_waiting(tmp_path: Path) -> None:
    options = probing(tmp_path, "--probe-misses", "1", "--probe-start-seconds", str(DEADLINE))
    with running(*options, "--metrics", "tcp://127.0.0.1:0") as proxy:
        metrics = int(proxy.event("listening")["address"].rpartition(":")[2])

        def misses() -> int:
            found = re.search(
                rb'probes_total\{outcome="missed"\} (\d+)',
                scrape(metrics, b"GET /metrics HTTP/1.1\r\n\r\n"),
            )
            assert found is not None
            return int(found[1])

        until(lambda: misses() >= 3)
        assert proxy.events("missed") == []
        upstream = Upstream(tmp_path / "up")
        proxy.event("answered")
        upstream.close()
        assert proxy.wait() == UNANSWERED  # from now on one miss is enough


def test_a_first_answer_that_never_comes_ends_it(tmp_path: Path) -> None:
    options = probing(tmp_path, "--probe-misses", "1000", "--probe-start-seconds", "0.3")
    with running(*options) as proxy:
        assert proxy.wait() == UNANSWERED
        assert proxy.event("unanswered")["probes"]["healthy"] == 0


def test_systemd_hears_of_the_first_answer_of_misses_and_of_life(
    tmp_path: Path, asked: Upstream
) -> None:
    manager = Manager(tmp_path / "notify")
    asked.answer = BAD
    environment = {**manager.environment, "WATCHDOG_USEC": "400000"}
    with running(*probing(tmp_path, "--probe-misses", "1000"), environment=environment) as proxy:
        assert manager.hears() == ["WATCHDOG=1"]  # and not READY=1
        asked.answer = GOOD
        assert _hears(manager) == ["READY=1", "STATUS=Answers"]
        asked.answer = BAD
        assert _hears(manager) == ["STATUS=No answer to 1 probe(s)"]
        asked.answer = GOOD
        while (told := _hears(manager)) != ["STATUS=Answers"]:
            assert told[0].startswith("STATUS=No answer to ")
        assert manager.hears() == ["WATCHDOG=1"]
        proxy.signal(signal.SIGTERM)
        assert proxy.wait() == 0
    manager.close()


def _hears(manager: Manager) -> list[str]:
    while (told := manager.hears()) == ["WATCHDOG=1"]:
        continue
    return told


def test_a_metrics_address_that_is_taken_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with running(*probing(tmp_path, "--metrics", address)) as proxy:
            assert proxy.wait() == 1


def test_its_metrics_tell_what_it_found() -> None:
    tally = Tally()
    before = tally.answered
    for outcome, seconds in (
        (Outcome.MISSED, 5.0),
        (Outcome.HEALTHY, 0.25),
        (Outcome.UNHEALTHY, 0.5),
        (Outcome.MISSED, 5.0),
        (Outcome.MISSED, 5.0),
    ):
        tally.add(outcome, seconds)
    assert (before, tally.answered) == (False, True)
    lines = [line for line in text(families(tally)).decode().splitlines() if line[0] != "#"]
    assert lines == [
        'host_proxy_probes_total{outcome="healthy"} 1',
        'host_proxy_probes_total{outcome="unhealthy"} 1',
        'host_proxy_probes_total{outcome="missed"} 3',
        "host_proxy_probe_consecutive_misses 2",
        "host_proxy_probe_seconds 0.5",
    ]


def test_at_the_start_nothing_has_been_asked() -> None:
    probes = {"healthy": 0, "unhealthy": 0, "missed": 0}
    assert Tally().as_dict() == {"probes": probes, "misses": 0, "seconds": 0.0}


def test_a_real_server_answers_and_one_that_hangs_ends_the_probe() -> None:
    """SIGSTOP is what a hung vsock looks like: connections come about, and nobody answers."""
    with running_enclave() as enclave:
        options = ("--probe", "0.05", "--connect", f"unix:{enclave.path}", "--probe-misses", "2")
        with running(*options, "--connect-seconds", "1") as proxy:
            assert proxy.event("answered")["outcome"] == "healthy"
            supervisor = enclave.process.pid
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            processes = [supervisor, *map(int, children)]
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            try:
                assert proxy.wait() == UNANSWERED
            finally:
                for pid in processes:
                    os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("start", [0.0, 1.0])
def test_the_first_answer_has_its_time_and_no_more(
    start: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals_kept: None,
) -> None:
    """On a clock that says how long nobody has answered: exactly as long as there was time."""
    times = iter((100.0, 100.0 + start))
    monkeypatch.setattr("host_proxy.watch.time", SimpleNamespace(monotonic=lambda: next(times)))
    watch = Watch(Questions(Unix(str(tmp_path / "absent")), 0.001, 1.0, 1, start), Service())
    assert watch.run() == UNANSWERED
    assert watch.tally.outcomes == {Outcome.MISSED: 1}
    assert [event["event"] for event in logged(capsys)] == ["probing", "unanswered", "stopped"]

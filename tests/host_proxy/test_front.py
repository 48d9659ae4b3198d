"""The process beside HAProxy, with an HAProxy that is played; the real one is in tests/scripts."""

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from host_proxy.addresses import Unix
from host_proxy.front import MISSES, PATIENCE, Front
from host_proxy.loop import Loop, Timer
from host_proxy.service import Service
from host_proxy.systemd import Notifier
from tests.host_proxy.test_haproxy import said
from tests.host_proxy.test_service import logged
from tests.host_proxy.test_survey import ALONE
from tests.host_proxy.test_systemd import Manager
from tests.support.host_proxy_process import (
    DEADLINE,
    ProxyProcess,
    accept,
    connect_unix,
    in_background,
    listen_tcp,
    listen_unix,
    read_all,
    running,
    until,
)


class Played:
    """HAProxy's runtime socket with one server, and the enclave at that server's port."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "runtime"
        self.map: dict[str, str] = {}
        self.told: list[str] = []
        self.works = True
        self.alive = True
        self.asked = 0  # questions to the enclave
        self.runtime = listen_unix(self.path)
        self.enclave = listen_tcp()
        port = self.enclave.getsockname()[1]
        self.overview = said((0, 0)).replace(b" 8001 ", b" %d " % port)
        in_background(lambda: self._serve(self.runtime, self._runtime))
        in_background(lambda: self._serve(self.enclave, self._enclave))

    def close(self) -> None:
        for listener in (self.runtime, self.enclave):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _serve(self, listener: socket.socket, answer: Callable[[str], bytes]) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                with accept(listener) as sock, contextlib.suppress(OSError):
                    sock.sendall(answer(sock.recv(1 << 16).decode()))

    def _runtime(self, line: str) -> bytes:
        if not self.works:
            return b"Permission denied\n"
        if line.startswith("show servers"):
            return self.overview
        if line.startswith("show map"):
            return "".join(f"0x1 {key} {value}\n" for key, value in self.map.items()).encode()
        for command in line.strip().split(";"):
            self.told.append(command)
            words = command.split()
            if words[:2] == ["add", "map"]:
                self.map[words[3]] = words[4]
            elif words[:2] == ["del", "map"]:
                del self.map[words[3]]
        return b"\n"

    def _enclave(self, request: str) -> bytes:
        self.asked += 1
        return ALONE[request.split(" ")[1]] if self.alive else b""


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    haproxy = Played(tmp_path)
    try:
        yield haproxy
    finally:
        haproxy.close()


@contextlib.contextmanager
def agent(played: Played) -> Iterator[ProxyProcess]:
    with running("--front", f"unix:{played.path}", "--front-seconds", "0.02") as process:
        yield process


def test_the_map_is_filled_before_it_is_ready(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        assert played.map == {"07": "enclave1", "told": "all"}
        assert "set server oblivious_members/enclave1 weight 1" in played.told
        process.signal(signal.SIGTERM)
        assert process.wait() == 0


def test_who_is_silent_loses_its_place_and_has_it_again(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        played.alive = False
        assert process.event("member_lost")["member"] == "enclave1"
        until(lambda: "07" not in played.map)
        process.signal(signal.SIGUSR1)
        assert process.event("counters")["silences"] >= 2
        assert process.event("alarm")["alarm"] == "nobody"
        played.alive = True
        process.event("member_answers", 2)
        until(lambda: played.map.get("07") == "enclave1")
        process.event("alarm_over")


def test_an_haproxy_that_says_something_else_is_an_alarm_and_asked_again(played: Played) -> None:
    played.works = False
    with agent(played) as process:
        assert "no backend" in process.event("haproxy_unreachable")["reason"]
        assert process.event("alarm")["alarm"] == "unreachable"
        played.works = True
        process.event("ready")
        process.event("alarm_over")


def test_counters_are_told(played: Played) -> None:
    with agent(played) as process:
        process.event("ready")
        process.signal(signal.SIGUSR1)
        counters = process.event("counters")
        assert counters["members"] == {"enclave1": "announced"}
        assert counters["map_changes"] == {"add": 2}
        assert (counters["unknown"], counters["misdirected"]) == (3, 5)


PAUSE = 0.0625


class Going:
    """Goes round in this process, without a pause, and changes what it finds between two rounds."""

    def __init__(
        self, played: Played, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._played = played
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self.notifier: Notifier | None = None

    def rounds(
        self, count: int, change: Callable[[int], None] = lambda number: None
    ) -> list[dict[str, Any]]:
        """Return what is logged; `change` is called with the number of each round, from 1."""
        begun = 1

        class Pausing(Loop):
            def later(self, delay: float, callback: Callable[[], None]) -> Timer:
                nonlocal begun
                if delay != PAUSE:
                    return super().later(delay, callback)
                begun += 1
                change(begun)
                return super().later(0, self.stop if begun > count else callback)

        self._monkeypatch.setattr("host_proxy.service.Loop", Pausing)
        # However busy the machine is, only who says nothing is silent.
        self._monkeypatch.setattr("host_proxy.front.RUNTIME_SECONDS", DEADLINE)
        self._monkeypatch.setattr("host_proxy.survey.SECONDS", DEADLINE)
        front = Front(Unix(str(self._played.path)), PAUSE, Service(notifier=self.notifier))
        front.open()
        change(begun)
        assert front.run() == 0
        return logged(self._capsys)


@pytest.fixture
def going(
    played: Played,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    signals_kept: None,
) -> Going:
    return Going(played, monkeypatch, capsys)


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_what_a_few_rounds_come_to(played: Played, going: Going) -> None:
    events = going.rounds(3)
    assert [event["event"] for event in events] == [
        "fronting",
        "member_answers",
        "told",
        "ready",
        "told",
        "told",
        "stopped",
    ]
    assert events[1] == {"event": "member_answers", "member": "enclave1", "keys": [7]}
    # HAProxy goes on saying that the weight is 0, so it is told again.
    told = [(event["changes"], event["weights"]) for event in named(events, "told")]
    assert told == [(2, 1), (0, 1), (0, 1)]
    assert (events[-1]["rounds"], events[-1]["failed_rounds"]) == (3, 0)


def test_systemd_hears_once_that_haproxy_has_been_told(
    tmp_path: Path, played: Played, going: Going
) -> None:
    manager = Manager(tmp_path / "notify")
    going.notifier = Notifier(manager.environment)
    going.rounds(3, lambda number: setattr(played, "works", number > 1))
    assert manager.hears() == ["READY=1", "STATUS=HAProxy has been told all"]
    assert manager.is_quiet()
    manager.close()


def test_what_is_so_already_is_not_told(played: Played, going: Going) -> None:
    played.overview = played.overview.replace(b" 127.0.0.1 2 0 0 ", b" 127.0.0.1 2 0 1 ")
    played.map = {"07": "enclave1", "told": "all"}
    events = going.rounds(2)
    assert played.told == []
    assert named(events, "told") == []


@pytest.mark.parametrize("silent", [MISSES - 1, MISSES, MISSES + 2])
def test_a_place_is_lost_after_two_rounds_of_silence_in_a_row(
    silent: int, played: Played, going: Going
) -> None:
    def change(number: int) -> None:
        played.alive = not (3 <= number < 3 + silent or 9 <= number < 9 + MISSES - 1)

    events = going.rounds(12, change)
    lost = silent >= MISSES
    assert len(named(events, "member_lost")) == lost
    assert len(named(events, "member_answers")) == 1 + lost
    assert [each for each in played.told if each.startswith("del")] == ["del map #3 07"] * lost
    assert played.map == {"07": "enclave1", "told": "all"}


@pytest.mark.parametrize("failing", [PATIENCE - 1, PATIENCE])
def test_an_haproxy_has_ten_rounds_until_it_is_an_alarm(
    failing: int, played: Played, going: Going
) -> None:
    def change(number: int) -> None:
        played.works = number in (1, failing + 2, 2 * failing + 3)

    events = going.rounds(2 * failing + 3, change)
    alarms = 2 * (failing == PATIENCE)
    assert [event["alarm"] for event in named(events, "alarm")] == ["unreachable"] * alarms
    assert [event["alarm"] for event in named(events, "alarm_over")] == ["unreachable"] * alarms
    reasons = [event["reason"] for event in named(events, "haproxy_unreachable")]
    assert reasons == ["no backend oblivious_members or no map oblivious-keys.map"] * 2
    assert (events[-1]["rounds"], events[-1]["failed_rounds"]) == (3, 2 * failing)


def test_what_is_wrong_stays_so_while_nothing_is_known(played: Played, going: Going) -> None:
    """Nobody can be announced; then HAProxy is away for a while."""
    back = 2 * PATIENCE
    played.alive = False

    def change(number: int) -> None:
        played.works = not PATIENCE + 3 <= number < back
        played.alive = number > back

    events = going.rounds(back + 1, change)
    assert [event["alarm"] for event in named(events, "alarm")] == ["nobody"]
    assert [event["alarm"] for event in named(events, "alarm_over")] == ["nobody"]
    assert events[-1]["alarms"] == []
    over = next(at for at, event in enumerate(events) if event["event"] == "alarm_over")
    assert over > next(at for at, each in enumerate(events) if each["event"] == "member_answers")


def test_who_is_taken_out_is_not_asked(played: Played, going: Going) -> None:
    played.overview = played.overview.replace(b" 127.0.0.1 2 0 ", b" 127.0.0.1 2 1 ")
    events = going.rounds(2)
    assert played.asked == 0
    assert played.map == {"told": "all"}
    assert events[-1]["members"] == {"enclave1": "out"}


def test_all_are_heard_before_anything_is_decided(played: Played, going: Going) -> None:
    """The second is refused at once, the first takes its time."""
    with listen_tcp() as closed:
        port = closed.getsockname()[1]
    both = said((0, 0), (0, 0)).replace(b" 8002 ", b" %d " % port)
    played.overview = both.replace(b" 8001 ", b" %d " % played.enclave.getsockname()[1])
    events = going.rounds(2)
    assert events[-1]["members"] == {"enclave1": "announced", "enclave2": "lost"}
    assert played.map == {"07": "enclave1", "told": "all"}
    assert (events[-1]["rounds"], played.asked) == (2, 6)


@pytest.mark.parametrize("spare", [0, 1])
def test_an_answer_that_fills_its_room_may_be_cut(
    spare: int, played: Played, monkeypatch: pytest.MonkeyPatch, going: Going
) -> None:
    monkeypatch.setattr("host_proxy.front.RUNTIME_BYTES", len(played.overview) + spare)
    events = going.rounds(2)
    reasons = [event["reason"] for event in named(events, "haproxy_unreachable")]
    assert reasons == ([] if spare else ["no answer"])
    assert events[-1]["failed_rounds"] == (0 if spare else 2)


def test_scrapers_are_told_of_it(tmp_path: Path, signals_kept: None) -> None:
    service = Service(metrics=Unix(str(tmp_path / "metrics")))
    front = Front(Unix(str(tmp_path / "nobody")), 0.01, service)
    answers: list[bytes] = []

    def scrape() -> None:
        with connect_unix(tmp_path / "metrics") as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
            answers.append(read_all(sock))
        service.loop.post(service.loop.stop)

    front.open()
    in_background(scrape)
    assert front.run() == 0
    assert b'host_proxy_front_rounds_total{outcome="done"} 0' in answers[0]

"""Tests of the comparison with other clocks."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from enclave_server.keys.keeper import KeyKeeper
from enclave_server.log import Log
from enclave_server.processes import supervisor
from enclave_server.processes.pool import Pool
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.processes.supervisor import Supervisor
from enclave_server.security_module import clock
from enclave_server.security_module.clock import MAX_SKEW_SECONDS, ClockError, check_clock, ptp_time

NOW = 1_800_000_000.0


def test_a_clock_that_is_right_or_nearly() -> None:
    check_clock(NOW, {"security module": NOW - MAX_SKEW_SECONDS, "PTP device": NOW + 37})
    check_clock(NOW, {})


@pytest.mark.parametrize(
    ("skew", "words"), [(3600, "3600 seconds ahead"), (-61, "61 seconds behi")]
)
def test_a_clock_that_is_plainly_wrong(skew: float, words: str) -> None:
    with pytest.raises(ClockError, match=f"{words}.*security module"):
        check_clock(NOW + skew, {"PTP device": NOW + skew, "security module": NOW})


def add_device(system: Path, name: str, clock_name: str) -> None:
    entry = system / "sys/class/ptp" / name
    entry.mkdir(parents=True)
    (entry / "clock_name").write_text(clock_name + "\n")


def test_a_device_is_closed_that_has_no_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_device(tmp_path, "ptp0", "KVM virtual PTP")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ptp0").touch()  # a file is no clock
    opened, opens = list[int](), os.open

    def note(path: Path, flags: int) -> int:
        opened.append(opens(path, flags))
        return opened[-1]

    monkeypatch.setattr(os, "open", note)
    assert ptp_time(tmp_path) is None
    (fd,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_only_a_hypervisor_s_device_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def read(device: Path) -> float:
        asked.append(device)
        return NOW

    monkeypatch.setattr(clock, "_read_clock", read)
    assert ptp_time(tmp_path) is None
    add_device(tmp_path, "ptp0", "some network card")
    assert ptp_time(tmp_path) is None
    add_device(tmp_path, "ptp1", "KVM virtual PTP")
    assert ptp_time(tmp_path) == NOW
    assert asked == [tmp_path / "dev/ptp1"]


def test_a_device_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    add_device(tmp_path, "ptp0", "KVM virtual PTP")
    assert ptp_time(tmp_path) is None
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ptp0").write_text("no clock")
    assert ptp_time(tmp_path) is None


class NoWorkers:
    """A pool that counts how often it was asked to have workers, and has none."""

    workers = ()
    settled = False
    failures = 0
    tended = 0

    def tend(self, now: float) -> None:
        self.tended += 1

    def take_proposals(self) -> list[bytes]:
        return []

    def signal(self, number: int) -> None:
        return None

    def watch(self, now: float) -> None:
        return None


def supervise(monkeypatch: pytest.MonkeyPatch, skews: Iterator[float]) -> tuple[int, str]:
    """Run a supervisor whose PTP device differs by one of `skews` each time it is asked.

    Return how often it looked after its workers until it ended, and of what.
    """
    monkeypatch.setattr(supervisor, "ptp_time", lambda: time.time() + next(skews))
    monkeypatch.setattr(supervisor, "CLOCK_SECONDS", 0.0)
    for method in ("_publish", "_keep_keys"):
        monkeypatch.setattr(Supervisor, method, lambda *_: None)
    pool = NoWorkers()
    keeper, log = cast(KeyKeeper, None), Log(io.StringIO())
    with StopSignals() as signals:
        watching = Supervisor(
            signals, keeper, None, log, Readiness(), wants_secrets=False, grace_seconds=0
        )
        with pytest.raises(ClockError) as ended:
            watching.serve(cast(Pool, pool), lambda: None, lambda: None)
    return pool.tended, str(ended.value)


def test_nobody_serves_with_a_clock_that_the_hypervisor_contradicts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wrong = MAX_SKEW_SECONDS + 10
    served, why = supervise(monkeypatch, iter([wrong]))
    assert (served, "behind the PTP device" in why) == (0, True)
    served, why = supervise(monkeypatch, iter([0.0, 0.0, -wrong]))
    assert (served, "ahead of the PTP device" in why) == (2, True)


def test_a_device_is_asked_as_the_kernel_numbers_its_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FD_TO_CLOCKID of linux/posix-timers.h: the complement, three bits up, and CLOCKFD."""
    add_device(tmp_path, "ptp0", "KVM virtual PTP")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ptp0").touch()
    descriptors: list[int] = []
    asked: list[int] = []
    opened = os.open

    def noting(*given: Any) -> int:
        descriptors.append(opened(*given))
        return descriptors[-1]

    def read(clock_id: int) -> float:
        asked.append(clock_id)
        return NOW

    monkeypatch.setattr("os.open", noting)
    monkeypatch.setattr("time.clock_gettime", read)
    assert ptp_time(tmp_path) == NOW
    assert asked == [-8 * (descriptors[0] + 1) + 3]

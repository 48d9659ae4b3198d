"""Tests of the comparison with other clocks."""

from pathlib import Path

import pytest

from enclave_server import clock
from enclave_server.clock import MAX_SKEW_SECONDS, ClockError, check_clock, ptp_time

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

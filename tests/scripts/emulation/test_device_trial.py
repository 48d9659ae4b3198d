"""The count of descriptors: how a packet in three of them is found."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from scripts.emulation import device_trial
from scripts.emulation.emulator import Emulator, Machine
from scripts.emulation.report import Report, TrialFailure


def emulator(tmp_path: Path, said: str) -> Emulator:
    (tmp_path / "switch.log").write_text(f"ready\n{said}")
    return cast(Emulator, SimpleNamespace(log=lambda name: tmp_path / f"{name}.log"))


def test_packets_of_one_guest_are_added_up_over_its_boots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = (
        "CID 16: 28 packets in 1 descriptors\nCID 16: 358 packets in 2 descriptors\n"
        "CID 3: 9 packets in 3 descriptors\nCID 16: 2 packets in 2 descriptors\n"
    )
    device_trial.check_descriptors(emulator(tmp_path, counted), 16, Report())
    assert "28 in 1, 360 in 2" in capsys.readouterr().out


def test_a_packet_in_three_descriptors_fails(tmp_path: Path) -> None:
    counted = "CID 16: 358 packets in 2 descriptors\nCID 16: 1 packets in 3 descriptors\n"
    with pytest.raises(TrialFailure, match="a packet came in 3 descriptors"):
        device_trial.check_descriptors(emulator(tmp_path, counted), 16, Report())


def test_a_count_that_never_comes_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_trial, "BOOT_SECONDS", 0.0)
    with pytest.raises(TrialFailure, match="nobody counted"):
        device_trial.check_descriptors(emulator(tmp_path, ""), 16, Report())


def test_machines_are_those_of_a_nitro_hypervisor_but_for_one() -> None:
    for machine in device_trial.MACHINES:
        options = " ".join(machine.options())
        assert f"-smp {machine.processors} " in options
        assert ("acpi=off,auto-kernel-cmdline=on" in options) is not machine.acpi
        assert ("-device i8042" in options) is not machine.acpi
    assert {machine.processors for machine in device_trial.MACHINES} == {1, 2, 4}
    assert [machine.acpi for machine in device_trial.MACHINES].count(True) == 1
    assert not Machine(512).acpi

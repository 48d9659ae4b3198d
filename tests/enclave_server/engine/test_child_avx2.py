"""AVX2: wanted of processors that may lack it, and not asked of others."""

from pathlib import Path

import pytest

from enclave_server.engine import child


@pytest.mark.parametrize("machine", ["x86_64", "AMD64"])
@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu avx avx2 bmi1", True), ("fpu avx2", True), ("fpu avx avx512f", False), ("", False)],
)
def test_its_flag_is_looked_for(
    machine: str, flags: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_bytes(f"model name\t: A\nflags\t\t: {flags}\nbugs\t\t: b\n".encode() + b"\xff\n")
    assert child._has_avx2(cpuinfo) is expected


def test_another_processor_has_no_such_flag(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert child._has_avx2(tmp_path / "absent") is True

"""The relay check as one file."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.relay_kit import bundle
from scripts.relay_kit.calls import UsageError


def alone(file: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the file by a Python that has nothing but its standard library."""
    command = [sys.executable, "-I", "-S", str(file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file, written."""
    path = tmp_path / "relay_check"
    bundle.write(path)
    return path


def test_it_runs_with_the_standard_library_alone(file: Path) -> None:
    assert os.access(file, os.X_OK)
    assert alone(file, "--help").returncode == 0
    nobody = (f"unix:{file.parent / 'nobody'}", "--wait", "0")
    for options in ((), ("--http2",)):
        done = alone(file, *options, *nobody)
        assert done.returncode == 2
        assert "nothing listens at the relay's address" in done.stderr


def test_it_is_the_same_each_time_and_brings_the_licenses_of_others(file: Path) -> None:
    again = file.parent / "again"
    bundle.write(again)
    assert again.read_bytes() == file.read_bytes()
    names = zipfile.ZipFile(file).namelist()
    licenses = [name.partition("-")[0] for name in names if "LICENSE" in name]
    assert sorted(licenses) == sorted(bundle.BROUGHT)


def test_it_does_not_write_itself(file: Path) -> None:
    done = alone(file, "--bundle", str(file.parent / "another"))
    assert (done.returncode, done.stderr) == (2, "error: This is such a file: copy it.\n")


def test_a_place_that_cannot_be_written_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^Cannot write .*missing/x: No such file"):
        bundle.write(tmp_path / "missing" / "x")


def test_a_package_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "BROUGHT", ("no-such-package",))
    with pytest.raises(UsageError, match="no-such-package is missing"):
        bundle.write(tmp_path / "x")
    assert not (tmp_path / "x").exists()

"""Runs that a process forks: each reads the code anew, and nothing of one is left for the next."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.mutation.warm import Warm

DEADLINE = 60.0
ARGUMENTS = ("-q", "-p", "no:cacheprovider", "test_it.py")


@pytest.fixture
def warm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Warm]:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts in half the time
    made = Warm(tmp_path)
    yield made
    made.close()


def test_each_run_reads_the_code_of_that_moment(warm: Warm, tmp_path: Path) -> None:
    for number, code in ((1, 0), (22, 1), (1, 0)):
        (tmp_path / "it.py").write_text(f"NUMBER = {number}\n")
        (tmp_path / "test_it.py").write_text(
            f"from it import NUMBER\n\ndef test_it_{number}() -> None:\n    assert NUMBER == 1\n"
        )
        found, said = warm.run(ARGUMENTS, DEADLINE)
        assert found == code
        assert said.count("1 passed" if code == 0 else "FAILED test_it.py::test_it_22") == 1


def test_what_takes_too_long_is_ended_with_all_that_it_started(warm: Warm, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pathlib, subprocess, sys, time\n\n"
        "def test_it() -> None:\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    pathlib.Path('child').write_text(str(child.pid))\n"
        "    time.sleep(600)\n"
    )
    named = tmp_path / "child"
    for seconds in (3.0, DEADLINE):  # the longer where it had not begun in the shorter
        assert warm.run(ARGUMENTS, seconds)[0] is None
        if named.exists() and named.read_text():
            break
    child = Path("/proc", named.read_text(), "stat")
    end = time.monotonic() + DEADLINE
    while child.exists() and child.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)
    (tmp_path / "test_it.py").write_text("def test_it() -> None:\n    pass\n")
    assert warm.run(ARGUMENTS, DEADLINE)[0] == 0


def test_a_process_that_has_ended_is_told_of(tmp_path: Path) -> None:
    made = Warm(tmp_path)
    made._process.kill()
    made._process.wait()
    with pytest.raises((ChildProcessError, BrokenPipeError)):
        made.run(ARGUMENTS, DEADLINE)
    said = made._name
    made.close()
    assert not said.exists()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made._said)

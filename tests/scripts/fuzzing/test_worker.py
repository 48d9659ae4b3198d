"""A worker: makes what broke something shorter, and has a limit of memory."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.fuzzing import worker
from scripts.fuzzing.corpus import Store, write
from scripts.fuzzing.engines import counts
from scripts.fuzzing.harnesses import ROOT, Harness
from scripts.fuzzing.worker import HOLDS


def broken_by_x(data: bytes) -> None:
    if b"x" in data:
        raise KeyError


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been limited; and one harness, whichever is asked for."""
    asked: list[object] = []
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: asked.append(limit))
    monkeypatch.setattr(worker, "load", lambda name: Harness(name, broken_by_x, list))
    return asked


def shorten(monkeypatch: pytest.MonkeyPatch, root: Path, data: bytes) -> int:
    path = write(root, data)
    monkeypatch.setattr(sys, "argv", ["worker", "any", str(root), "--shorten", str(path)])
    return worker.main()


def test_what_breaks_something_is_made_shorter(
    limits: list[object],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert shorten(monkeypatch, tmp_path, b"aaaxbbb") == 0
    broken, shortest = capsys.readouterr().out.splitlines()
    assert broken.startswith("KeyError in broken_by_x")
    assert Path(shortest).read_bytes() == b"x"
    assert Store(tmp_path, "any").broken() == [Path(shortest)]
    assert limits == [(resource.RLIMIT_AS, (worker.ADDRESS_SPACE, worker.ADDRESS_SPACE))]


def test_what_breaks_nothing_is_told_apart(
    limits: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert shorten(monkeypatch, tmp_path, b"aaabbb") == HOLDS
    assert not Store(tmp_path, "any").broken()


def test_it_runs_a_harness_with_the_engine_there_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.fuzzing.worker", "varint", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert counts(done.stderr).executions > 10
    assert not Store(tmp_path, "varint").broken()

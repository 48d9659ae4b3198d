"""How the engine's process is watched: a stand-in for the process, and a clock of the test's."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from enclave_server.engine import child
from enclave_server.engine.child import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    START_SECONDS,
    Engine,
    Problem,
    State,
    Weights,
    preflight,
)

DEADLINE = 120.0
NOW = 1000.0

# Notes its arguments, then does as it is told.
STAND_IN = """#!{python} -S
import os, signal, sys, time
arguments = dict(word.lstrip("-").split("=", 1) for word in sys.argv[3:])
with open({noted!r}, "a") as file:
    print(sorted(arguments), os.environ.get("OMP_WAIT_POLICY"), "SECRET" in os.environ, file=file)
{action}
"""
READY = "os.write(int(arguments['ready']), b'1')\nsignal.pause()"
STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY

Make = Callable[[str], Engine]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return what makes an engine whose process runs the given lines."""
    weights = tmp_path / "model.gguf"
    weights.write_bytes(b"GGUF")
    monkeypatch.setattr(child, "preflight", lambda weights: None)
    monkeypatch.setenv("SECRET", "of ours")

    def made(action: str) -> Engine:
        program = tmp_path / "program"
        noted = str(tmp_path / "noted")
        program.write_text(STAND_IN.format(python=sys.executable, noted=noted, action=action))
        program.chmod(0o755)
        monkeypatch.setattr(child.sys, "executable", str(program))  # type: ignore[attr-defined]
        return Engine(Weights(str(weights), "00"), threads=1)

    return made


def until(engine: Engine, state: State, now: float = NOW) -> None:
    deadline = time.monotonic() + DEADLINE
    while engine.poll(now) is not state:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_it_is_started_with_what_it_needs_and_nothing_of_ours(make: Make, tmp_path: Path) -> None:
    engine = make(READY)
    engine.start(str(tmp_path / "e.sock"))
    assert (engine.state, engine.starts) == (State.STARTING, 1)
    until(engine, State.READY)
    (noted,) = (tmp_path / "noted").read_text().splitlines()
    assert noted == (
        "['connections', 'memory-mib', 'model', 'parent', 'ready', 'sha256', 'socket', 'threads']"
        " passive False"
    )
    with pytest.raises(ValueError, match="has been started"):
        engine.start(str(tmp_path / "e.sock"))
    pid = engine.process_id
    assert pid is not None
    (tmp_path / "e.sock").touch()
    engine.stop()
    assert (engine.state, engine.process_id) == (State.STOPPED, None)
    assert not (tmp_path / "e.sock").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("processors", "threads"), [({0, 1, 2}, 2), ({5}, 1)])
def test_it_leaves_one_processor_of_ours_to_the_gateway(
    processors: set[int],
    threads: int,
    make: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", {0: processors}.__getitem__)
    make(READY)  # which says what is started
    engine = Engine(Weights(str(tmp_path / "model.gguf"), "00"))
    engine.start(str(tmp_path / "e.sock"))
    until(engine, State.READY)
    words = Path(f"/proc/{engine.process_id}/cmdline").read_bytes().split(b"\0")
    engine.stop()
    assert f"--threads={threads}".encode() in words


def test_who_does_not_end_is_killed(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert child.STOP_SECONDS == 5
    monkeypatch.setattr(child, "STOP_SECONDS", 0.2)
    engine = make(STUBBORN)
    engine.start(str(tmp_path / "e.sock"))
    until(engine, State.READY)
    pid = engine.process_id
    assert pid is not None
    engine.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_who_never_gets_ready_is_killed_in_the_end(make: Make, tmp_path: Path) -> None:
    engine = make("signal.pause()")
    engine.start(str(tmp_path / "e.sock"))
    for now in (NOW, NOW + START_SECONDS):
        assert engine.poll(now) is State.STARTING
    engine.poll(NOW + START_SECONDS + 0.1)
    until(engine, State.WAITING, NOW + START_SECONDS + 0.2)
    engine.stop()


def test_who_ends_is_started_again_ever_later(make: Make, tmp_path: Path) -> None:
    engine = make("sys.exit(1)")
    engine.start(str(tmp_path / "e.sock"))
    now, delay = NOW, FIRST_DELAY_SECONDS
    for starts in range(2, 9):
        until(engine, State.WAITING, now)
        assert engine.poll(now + delay - 0.01) is State.WAITING
        assert engine.starts == starts - 1
        now += delay
        assert engine.poll(now) is State.STARTING
        assert engine.starts == starts
        delay = min(2 * delay, LONGEST_DELAY_SECONDS)
    assert delay == LONGEST_DELAY_SECONDS == 30
    engine.stop()


@pytest.mark.parametrize("problem", Problem)
def test_what_waiting_does_not_cure_is_not_tried_again(
    problem: Problem, make: Make, tmp_path: Path
) -> None:
    engine = make(f"sys.exit({int(problem)})")
    engine.start(str(tmp_path / "e.sock"))
    until(engine, State.FAILED)
    assert engine.problem is problem
    assert engine.poll(NOW + 10_000) is State.FAILED
    assert engine.starts == 1
    engine.stop()


def test_without_the_package_or_its_weights_there_is_no_engine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    missing: set[str] = set()
    found = child.importlib.util.find_spec  # type: ignore[attr-defined]
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in missing else found(name)
    )
    assert preflight(child.installed_weights()) is None
    missing.add("xllamacpp")
    assert preflight(child.installed_weights()) is Problem.NO_ENGINE
    missing.add(child.WEIGHTS_PACKAGE)
    assert child.installed_weights() is None
    (tmp_path / "w").write_bytes(b"abc")
    digest = "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"
    assert Weights(str(tmp_path / "w"), digest).intact()
    assert not Weights(str(tmp_path / "w"), "00").intact()


def test_an_engine_without_weights_fails_and_says_so(tmp_path: Path) -> None:
    engine = Engine(Weights(str(tmp_path / "absent"), ""))
    engine.start(str(tmp_path / "e.sock"))
    assert (engine.state, engine.problem) == (State.FAILED, Problem.NO_WEIGHTS)
    assert engine.process_id is None
    assert engine.poll(NOW) is State.FAILED


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_stays_open_however_often_it_is_started(make: Make, tmp_path: Path) -> None:
    engine = make("sys.exit(1)")
    before, now = descriptors(), NOW
    engine.start(str(tmp_path / "e.sock"))
    for _ in range(3):
        until(engine, State.WAITING, now)
        assert descriptors() == before
        now += LONGEST_DELAY_SECONDS
        engine.poll(now)
    engine.stop()
    assert descriptors() == before


@pytest.mark.parametrize(
    ("start_seconds", "patience"), [(0.0, 10.0), (2.5, 10.0), (3.0, 12.0), (60.0, 240.0)]
)
def test_who_starts_slowly_is_waited_for_longer(
    start_seconds: float, patience: float, make: Make, tmp_path: Path
) -> None:
    """An emulated processor is slow at everything."""
    engine = make(f"while not os.path.exists({str(tmp_path / 'go')!r}): time.sleep(0.01)\n{READY}")
    engine.start(str(tmp_path / "e.sock"))
    assert engine.poll(NOW) is State.STARTING
    (tmp_path / "go").touch()
    until(engine, State.READY, NOW + start_seconds)
    probe = engine._probe
    assert probe is not None
    probe.silent_seconds = patience - 1.5  # each look adds a second at the most
    engine.poll(NOW + start_seconds + 1)
    assert engine.hung == 0
    engine.poll(NOW + start_seconds + 3)
    assert engine.hung == 1
    until(engine, State.WAITING, NOW + start_seconds + 3)
    engine.stop()

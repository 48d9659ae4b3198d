"""The engines: what they write about themselves is read, and the plain one finds and ends."""

import itertools
import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.fuzzing import engines
from scripts.fuzzing.corpus import Store, write
from scripts.fuzzing.engines import Counts, Task, counts, plain
from scripts.fuzzing.harnesses import Harness

GUIDED = """\
INFO: Seed: 1
#22\tINITED cov: 144 ft: 412 corp: 20/2156b exec/s: 0 rss: 52Mb
#24\tNEW    cov: 144 ft: 413 corp: 21/2236b lim: 417 exec/s: 0 rss: 52Mb L: 80/417
#4096\tpulse  cov: 150 ft: 544 corp: 84/15476b lim: 417 exec/s: 1024 rss: 52Mb
"""
ENDED = "#4389\tDONE   cov: 150 ft: 545 corp: 85/1b\nstat::number_of_executed_units: 4390\n"


def test_what_atheris_writes_is_read() -> None:
    assert counts(GUIDED) == Counts(4096, 84, 150, 544)
    assert counts(GUIDED + ENDED) == Counts(4390, 85, 150, 545)
    assert counts("Killed\n") == Counts()


def test_counts_of_two_runs() -> None:
    assert Counts(3, 9, 7, 8).then(Counts(4, 10, 5, 9)) == Counts(7, 10, 5, 9)


def harness(run: Callable[[bytes], None]) -> Harness:
    return Harness("any", run, lambda: [b"abc", b"xyz"])


def task(tmp_path: Path, until: float) -> Task:
    return Task("any", Store(tmp_path, "any"), until, 1, least=0)


def test_a_slow_start_leaves_some_time(tmp_path: Path) -> None:
    late = replace(task(tmp_path, 50), least=5)
    assert [late.left(now) for now in (40, 44, 45, 46, 100)] == [10, 6, 5, 5, 5]


def ticking() -> Callable[[], float]:
    return map(float, itertools.count()).__next__


def test_the_plain_engine_ends_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[bytes] = []
    assert plain(harness(seen.append), task(tmp_path, 50), ticking()) == 0
    assert seen[:2] == [b"abc", b"xyz"] or seen[:2] == [b"xyz", b"abc"]
    assert counts(capsys.readouterr().err) == Counts(49, 2)
    assert len(seen) == 49


def test_the_plain_engine_tries_all_that_is_kept(tmp_path: Path) -> None:
    kept = task(tmp_path, 0)
    write(kept.store.corpus, b"kept")
    seen: list[bytes] = []
    assert plain(harness(seen.append), kept, ticking()) == 0
    assert sorted(seen) == [b"abc", b"kept", b"xyz"]


def test_the_plain_engine_keeps_what_breaks_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(data: bytes) -> None:
        if data not in (b"abc", b"xyz"):
            raise KeyError

    found = task(tmp_path, math.inf)
    assert plain(harness(run), found, ticking()) == 1
    [path] = found.store.broken()
    assert path.read_bytes() not in (b"abc", b"xyz")
    said = capsys.readouterr().err
    assert "KeyError in run" in said
    assert str(path) in said


def test_an_input_that_takes_too_long_is_found(tmp_path: Path) -> None:
    found = task(tmp_path, math.inf)
    sound = signal.getsignal(signal.SIGPROF)
    try:
        late = harness(lambda data: signal.raise_signal(signal.SIGPROF))
        assert plain(late, found, ticking()) == 1
    finally:
        signal.signal(signal.SIGPROF, sound)
    assert found.store.broken()


def test_an_input_has_time_of_the_processor_and_no_alarm() -> None:
    """A machine on which others go first is no reason to call an input slow."""
    timers: list[tuple[float, float]] = []

    def run(data: bytes) -> None:
        timers.append((signal.getitimer(signal.ITIMER_PROF)[0], _alarm()))

    sound = signal.getsignal(signal.SIGPROF)
    try:
        engines.in_time(run)(b"")
    finally:
        signal.signal(signal.SIGPROF, sound)
    [(processor, wall)] = timers
    assert 0 < processor <= engines.INPUT_SECONDS + 1
    assert wall == 0
    assert signal.getitimer(signal.ITIMER_PROF)[0] == 0


def _alarm() -> float:
    return signal.getitimer(signal.ITIMER_REAL)[0]


def test_the_engine_says_which_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "GUIDED_PACKAGE", "no_such_package")
    assert not engines.is_guided()
    assert "guided by nothing" in engines.description()
    monkeypatch.setattr(engines, "GUIDED_PACKAGE", "hypothesis")
    assert engines.is_guided()
    assert engines.description().startswith("hypothesis 6")

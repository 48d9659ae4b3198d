"""A harness tried: what broke it is said with its octets and how to see it again."""

import signal
from pathlib import Path

import pytest

from scripts.fuzzing import trying
from scripts.fuzzing.corpus import Store, write
from scripts.fuzzing.engines import Counts
from scripts.fuzzing.trying import Ended, Outcome, tried
from scripts.fuzzing.worker import HOLDS

WORKED = "#9\tDONE   cov: 3 ft: 4 corp: 2/9b\n"


class StandIn:
    """In place of processes: ends as it is told, after it has left what it is told."""

    def __init__(self, *ends: Ended, leaves: bytes | None = None) -> None:
        self.ends = list(ends)
        self.leaves = leaves
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, name: str, root: Path, arguments: tuple[str, ...], seconds: float) -> Ended:
        self.asked.append(arguments)
        if self.leaves is not None and arguments[0] == "--seconds":
            write(Store(root, name).crashes, self.leaves, "crash-")
        return self.ends.pop(0)


def worker(monkeypatch: pytest.MonkeyPatch, *ends: Ended, leaves: bytes | None = None) -> StandIn:
    stand_in = StandIn(*ends, leaves=leaves)
    monkeypatch.setattr(trying, "_worker", stand_in)
    return stand_in


def test_one_that_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = worker(monkeypatch, Ended(0, "", WORKED)).asked
    assert tried("cbor", tmp_path, 5, 7) == Outcome("cbor", Counts(9, 2, 3, 4))
    assert asked == [("--seconds", "5", "--seed", "7")]
    assert Store(tmp_path, "cbor").log.read_text() == WORKED


def test_an_alarm_after_the_end_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker(monkeypatch, Ended(-signal.SIGALRM, "", WORKED))
    assert not tried("cbor", tmp_path, 5, 7).broken
    worker(monkeypatch, Ended(-signal.SIGALRM, "", WORKED.replace("DONE", "pulse")))
    assert tried("cbor", tmp_path, 5, 7).broken


def test_what_broke_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shortest = write(tmp_path, b"\xab\xcd")
    shortened = Ended(0, f"noise\nKeyError in x\n{shortest}\n", "")
    worker(monkeypatch, Ended(77, "", WORKED), shortened, leaves=b"long \xab\xcd")
    outcome = tried("cbor", tmp_path, 5, 7)
    assert outcome.counts.executions == 9
    assert outcome.broken == (
        f"cbor: KeyError in x\n    hex abcd\n    scripts/fuzz cbor --input {shortest}",
    )


def test_what_ends_the_process_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker(monkeypatch, Ended(70, "", WORKED), Ended(-11, "", ""), leaves=b"\1" * 600)
    [said] = tried("cbor", tmp_path, 5, 7).broken
    assert "ends with -11" in said
    assert f"hex {'01' * 512}…\n" in said


def test_a_worker_that_ends_without_an_input_is_no_success(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker(monkeypatch, Ended(1, "", "ImportError\n"))
    [said] = tried("cbor", tmp_path, 5, 7).broken
    assert "ended with 1" in said
    assert str(Store(tmp_path, "cbor").log) in said


def test_what_was_broken_before_is_tried_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    store = Store(tmp_path, "cbor")
    kept = write(store.crashes, b"still", "crash-")
    write(store.crashes, b"short", "shortest-")
    still = Ended(0, f"KeyError\n{kept}\n", "")
    assert tried_with(monkeypatch, tmp_path, still).broken
    mended = tried_with(monkeypatch, tmp_path, Ended(HOLDS, "", ""), Ended(0, "", WORKED))
    assert not mended.broken
    assert store.inputs() == [b"still"]
    assert not store.broken()


def tried_with(monkeypatch: pytest.MonkeyPatch, root: Path, *ends: Ended) -> Outcome:
    worker(monkeypatch, *ends)
    return tried("cbor", root, 5, 7)


def test_a_process_that_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trying, "START_SECONDS", 0.0)
    assert trying._worker("varint", tmp_path, ("--seconds", "1000"), 0.1).status == -1


def test_two_runs_together() -> None:
    first, second = Outcome("a", Counts(1, 2), ("x",)), Outcome("a", Counts(3, 4), ("y",))
    assert first.then(second) == Outcome("a", Counts(4, 4), ("x", "y"))

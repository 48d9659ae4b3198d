"""The command: time is shared, all is told in a table, and what is broken is its status."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.fuzzing import fuzz
from scripts.fuzzing.engines import Counts
from scripts.fuzzing.harnesses import names
from scripts.fuzzing.trying import Outcome

GOOD = Outcome("a", Counts(12345, 6, 7, 8))
BAD = Outcome("bc", Counts(5), ("bc: KeyError in x",))


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float, int]]:
    """Names, seconds and seeds of what is tried; `bc` is broken."""
    seen: list[tuple[str, float, int]] = []

    def tried(name: str, root: Path, seconds: float, seed: int) -> Outcome:
        seen.append((name, seconds, seed))
        return BAD if name == "bc" else Outcome(name, GOOD.counts)

    monkeypatch.setattr(fuzz, "tried", tried)
    return seen


def test_time_is_shared(tries: list[tuple[str, float, int]], tmp_path: Path) -> None:
    assert list(fuzz.outcomes(["a", "d", "e", "f"], tmp_path, 60, 3))
    assert sorted(tries) == [(name, 30, 3) for name in "adef"]


def test_hours_are_rounds_in_which_all_have_a_turn(
    tries: list[tuple[str, float, int]], tmp_path: Path
) -> None:
    found = list(fuzz.outcomes(["a", "bc"], tmp_path, 3 * fuzz.ROUND_SECONDS, 1))
    assert [outcome.name for outcome in found] == ["a", "bc", "a", "a"]
    assert tries[-1] == ("a", fuzz.ROUND_SECONDS, 3)


def test_each_has_a_second_at_least(tries: list[tuple[str, float, int]], tmp_path: Path) -> None:
    list(fuzz.outcomes(["a", "d", "e"], tmp_path, 0.1, 1))
    assert {seconds for _, seconds, _ in tries} == {1.0}


def test_the_table() -> None:
    assert fuzz.table([GOOD, BAD]).splitlines() == [
        "harness  executions  corpus  edges  features  broken",
        "a            12,345       6      7         8       0",
        "bc                5       0      -         -       1",
        "all          12,350                                1",
    ]


def test_what_is_broken_is_the_status(
    tries: list[tuple[str, float, int]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fuzz.run(["a"], 5, 1, tmp_path) == 0
    assert fuzz.run(["a", "bc"], 5, 1, tmp_path) == 1
    said = capsys.readouterr().out
    assert said.endswith("bc: KeyError in x\n")
    assert "engine: " in said


def test_an_interrupted_run_tells_what_was_done(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> Iterator[Outcome]:
        yield GOOD
        raise KeyboardInterrupt

    monkeypatch.setattr(fuzz, "outcomes", interrupted)
    assert fuzz.run(["a", "bc"], 5, 1, tmp_path) == 0
    assert "12,345" in capsys.readouterr().out


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
    monkeypatch.setattr(os, "nice", lambda by: by)
    return fuzz.main()


def test_one_input_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "input"
    path.write_bytes(b"\x25")
    assert command(monkeypatch, "varint", "--input", str(path)) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["nothing"],
        ["--input", "x"],
        ["varint", "--input", "absent"],
        ["--hours", "1", "--seconds", "2"],
    ],
)
def test_wrong_usage(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(monkeypatch, *arguments)
    assert ended.value.code == 2


def test_all_are_run_unless_some_are_named(
    tries: list[tuple[str, float, int]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(fuzz, "cache", lambda: tmp_path)
    assert command(monkeypatch, "varint", "--hours", "0.01", "--seed", "5") == 0
    assert tries == [("varint", 72.0, 5)]
    assert command(monkeypatch, "--seconds", "2") == 0
    assert len(tries) == 1 + len(names())

"""The mutation run on a small checkout: what is noticed, what survives, and what is left behind."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.mutation import mutate
from scripts.mutation.mutants import mutants
from scripts.mutation.mutate import failure, main, sample

MODULE = """def smaller(a: int, b: int) -> int:
    if a < b:
        return a
    return b
"""
TESTS = """from protocol.pick import smaller


def test_the_smaller_is_found() -> None:
    assert smaller(1, 2) == 1
    assert smaller(2, 1) == 1
"""
HANGING = """def wait() -> None:
    while False:
        continue_ = None
"""
HANGING_TESTS = """from protocol.pick import wait


def test_it_ends() -> None:
    wait()
"""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, MODULE, TESTS)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    monkeypatch.setattr(mutate, "NICENESS", 0)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts in half the time
    return tmp_path


def write(root: Path, module: str, tests: str) -> None:
    for folder in ("protocol", "tests", "tests/protocol"):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / "__init__.py").touch()
    (root / "protocol" / "pick.py").write_text(module)
    (root / "tests" / "protocol" / "test_pick.py").write_text(tests)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mutate", *arguments])
    return main()


def test_survivors_are_shown_and_counted(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Compare otherwise or take the other branch, and twice return nothing.
    assert run(monkeypatch, "--sample", "99") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "3 of 3 changes were noticed, 0 not judged"
    assert said.count("FAILED tests/protocol/test_pick.py::test_the_smaller_is_found") == 3
    assert (checkout / "protocol" / "pick.py").read_text() == MODULE
    write(checkout, MODULE, "def test_nothing() -> None:\n    pass\n")
    monkeypatch.setattr(mutate, "mutants", lambda source: mutants(source)[-1:])
    assert run(monkeypatch, "--sample", "99", "protocol/pick") == 1
    said = capsys.readouterr().out
    assert "0 of 1 changes were noticed" in said
    assert "-    return b\n+    return None" in said


def test_what_does_not_end_is_noticed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mutate, "HANGING_SECONDS", 3.0)
    monkeypatch.setattr(mutate, "SLOWER", 1.5)
    monkeypatch.setattr(mutate, "SPARE_SECONDS", 0.5)
    write(checkout, HANGING, HANGING_TESTS)
    assert run(monkeypatch, "--sample", "1") == 0
    assert "nothing came to an end in time" in capsys.readouterr().out


def test_tests_that_fail_without_a_change_say_nothing(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write(checkout, MODULE, "def test_it() -> None:\n    assert False\n")
    assert run(monkeypatch, "--sample", "1") == 1
    said = capsys.readouterr().out
    assert "NOT JUDGED, since without it FAILED tests/protocol/test_pick.py" in said
    assert said.splitlines()[-1] == "0 of 0 changes were noticed, 1 not judged"


def test_a_seed_draws_the_same_again(checkout: Path) -> None:
    drawn = [sample(["protocol/"], 1, seed) for seed in (1, 1, 2, 3, 4, 5)]
    assert drawn[0] == drawn[1]
    assert any(other != drawn[0] for other in drawn[2:])
    assert len(sample(["protocol/"], 99, 1)) == 3
    assert sample(["host_proxy/"], 99, 1) == []


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("a\nFAILED tests/a.py::b - c\nFAILED d", "FAILED tests/a.py::b - c"),
        ("ERROR tests/a.py", "ERROR tests/a.py"),
        ("no such option\n", "no such option"),
        ("", "the tests could not be run"),
    ],
)
def test_what_failed_first_is_told(said: str, line: str) -> None:
    assert failure(said) == line

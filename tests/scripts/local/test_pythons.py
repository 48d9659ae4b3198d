"""The client's tests on several Pythons: which are found and run, what is said of others."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from scripts.local import pythons
from scripts.local.pythons import VERSIONS, candidates, interpreters, main, version_of

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


def test_an_interpreter_says_its_version_and_nothing_else_does() -> None:
    assert version_of(sys.executable) == HERE
    assert version_of("/none") is version_of("/bin/false") is None


def test_who_was_named_goes_first(tmp_path: Path) -> None:
    own = tmp_path / "versions" / "3.12.1" / "bin" / "python3"
    own.parent.mkdir(parents=True)
    own.touch()
    environment = {"OBLIVIOUS_PYTHONS": "/a:/b", "PYENV_ROOT": str(tmp_path), "PATH": "/none"}
    assert candidates(environment) == ["/a", "/b", str(own)]


def test_each_version_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"a": "3.13", "b": "3.11", "c": "3.13", "d": "3.10", "e": None}
    monkeypatch.setattr(pythons, "version_of", versions.get)
    assert interpreters(list(versions)) == {"3.11": "b", "3.13": "a"}
    assert VERSIONS == ("3.11", "3.12", "3.13", "3.14")


@pytest.mark.parametrize(
    ("found", "codes", "ended"),
    [
        ({}, [], 1),
        ({"3.11": "a"}, [0], 0),
        ({"3.11": "a", "3.12": "b"}, [0, 1], 1),
    ],
)
def test_all_are_run_and_those_that_are_not_here_are_named(
    found: dict[str, str],
    codes: list[int],
    ended: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran: list[tuple[Path, Sequence[str]]] = []

    def run(python: Path, arguments: Sequence[str]) -> int:
        ran.append((python, arguments))
        return codes[len(ran) - 1]

    monkeypatch.setattr(pythons, "interpreters", lambda programs: found)
    monkeypatch.setattr(pythons, "make", lambda version, program: Path(program))
    monkeypatch.setattr(pythons, "run", run)
    assert main(["-x"]) == ended
    assert ran == [(Path(program), ["-x"]) for program in found.values()]
    said = capsys.readouterr().out.splitlines()[-4:]
    assert [line.split(": ")[0] for line in said] == [f"Python {each}" for each in VERSIONS]
    assert sum("not here" in line for line in said) == 4 - len(found)

"""The program: it runs the command, and says how a package that is missing is installed."""

import builtins
import importlib.util
import sys
from typing import Any

import pytest

from enclave_server import __main__ as program
from enclave_server import cli


def without(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the command's module fail to be imported for lack of a package."""
    real = builtins.__import__

    def importing(name: str, *rest: Any) -> Any:
        if name == "enclave_server" and rest[2:3] and "cli" in (rest[2] or ()):
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", importing)


def test_what_the_command_returns_is_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "main", lambda: 6)
    assert program.main() == 6


def test_a_package_of_the_extra_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (name,) = program.EXTRA
    without(name, monkeypatch)
    assert program.main() == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"enclave-server: {name} is missing: ")
    assert "pip install '.[server]'" in captured.err


def test_any_other_package_that_is_missing_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    without("something.else", monkeypatch)
    with pytest.raises(ModuleNotFoundError, match=r"something\.else"):
        program.main()


def test_what_the_extra_brings_is_installed_here() -> None:
    assert all(importlib.util.find_spec(name) is not None for name in program.EXTRA)
    assert "msgspec" in sys.modules

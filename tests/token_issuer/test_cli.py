"""The command `token-issuer`: exit codes, one sentence for what went wrong, and help."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from token_issuer import __main__, cli

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    path = tmp_path / "issuer.toml"
    path.write_text(f'database = "sqlite:///{tmp_path}/l.sqlite3"\nkeys = "{tmp_path}/keys"\n')
    return path


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("keys list", "keys new"),
        ("keys buyers 00", None),
        ("keys retire", "keys new"),
        ("keys new --epochs 7", "6 epochs"),
        ("keys new --epochs 0", "1 to 6 epochs"),
        ("accounts disable 1", "no such account"),
        ("accounts credit 1 5 --reference a", "no such account"),
        ("accounts new --price c0 --allowance 1", "price point"),
        ("serve", "keys new"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    settings: Path, capsys: pytest.CaptureFixture[str], words: str, reason: str | None
) -> None:
    code = cli.main(["--config", str(settings), *words.split()])
    said = capsys.readouterr()
    if reason is None:
        assert (code, said.err) == (0, "")
        return
    assert code == 1
    assert said.err.startswith("token-issuer: ")
    assert said.err.count("\n") == 1
    assert said.err.endswith(".\n")
    assert reason in said.err


@pytest.mark.parametrize(
    "words",
    [
        "",
        "keys",
        "keys new --prices c0",
        "keys new --prices c1,,c4",
        "keys new --start tomorrow",
        "vouchers new",
        "vouchers new --units 0",
        "vouchers new --units -1",
        "vouchers new --units \N{SUPERSCRIPT TWO}",
        "accounts new --units -5",
        "accounts new --allowance -1",
        "accounts show",
        "accounts credit 1 5",
        "vouchers new --uni 1",
        "--conf issuer.toml accounts list",
    ],
)
def test_a_wrong_command_line_is_exit_code_2(settings: Path, words: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--config", str(settings), *words.split()])
    assert ended.value.code == 2


def test_settings_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--config", str(tmp_path / "none"), "accounts", "list"]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_a_database_that_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "issuer.toml"
    path.write_text(f'database = "postgresql://a@/b?host={tmp_path}"\nkeys = "{tmp_path}"\n')
    assert cli.main(["--config", str(path), "accounts", "list"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("token-issuer: The ledger cannot be used: ")
    assert said.count("\n") == 1


def test_the_environment_names_the_settings(
    settings: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOKEN_ISSUER_CONFIG", str(settings))
    assert cli.main(["accounts", "list"]) == 0
    assert capsys.readouterr().out.startswith("account")


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "token_issuer", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("usage: token-issuer")
    assert all(
        word in done.stdout for word in ("keys", "vouchers", "accounts", "payments", "serve")
    )


@pytest.mark.parametrize("name", ["gmpy2", "sqlalchemy.exc"])
def test_a_package_of_the_extra_that_is_missing_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> int:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(cli, "main", missing)
    assert __main__.main() == 2
    said = capsys.readouterr().err
    assert said.startswith(f"token-issuer: {name.partition('.')[0]} is missing: ")


@pytest.mark.parametrize("name", ["token_issuer.cli", None])
def test_another_module_that_is_missing_is_a_fault_of_this_program(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> int:
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(cli, "main", missing)
    with pytest.raises(ModuleNotFoundError):
        __main__.main()


def test_what_is_written_is_for_its_owner_alone(settings: Path) -> None:
    before = os.umask(0o022)
    try:
        assert cli.main(["--config", str(settings), "accounts", "list"]) == 0
        assert os.umask(before) == 0o077
    finally:
        os.umask(before)

"""Payments by x402 are imported where they are configured, and nowhere else."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.token_issuer.test_settings import LEAST, X402, read
from token_issuer.ledger import Ledger
from token_issuer.settings import SettingsError
from token_issuer.x402_setup import open_desk

ROOT = Path(__file__).resolve().parents[2]
PATH = "facilitator_secret_file"


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_where_it_is_not_configured_nothing_of_it_is_imported(tmp_path: Path) -> None:
    path = tmp_path / "issuer.toml"
    path.write_text(LEAST)
    done = run(
        "import sys\n"
        "from pathlib import Path\n"
        "from token_issuer import cli, serving, x402_setup, settings\n"
        f"read = settings.read_settings(Path({str(path)!r}))\n"
        "assert x402_setup.open_desk(read, None) is None\n"
        "print(sorted({'x402', 'pydantic', 'httpx', 'nest_asyncio'} & sys.modules.keys()))"
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("missing", ["x402", "pydantic", "httpx"])
def test_where_it_is_missing_one_sentence_says_what_to_install(
    tmp_path: Path, missing: str
) -> None:
    path = tmp_path / "issuer.toml"
    path.write_text(f'database = "sqlite:///{tmp_path}/l"\nkeys = "/k"\n' + X402)
    done = run(
        "import sys\n"
        f"sys.modules[{missing!r}] = None\n"
        "from token_issuer import cli\n"
        f"sys.exit(cli.main(['--config', {str(path)!r}, 'payments', 'reconcile']))"
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"token-issuer: [x402] needs {missing}, which is missing: "
        "install its packages with pip install '.[issuer,x402]' in a checkout.\n"
    )


def test_a_fault_in_what_is_imported_is_not_called_missing(
    tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(tmp_path, LEAST + X402)
    monkeypatch.setitem(sys.modules, "token_issuer.x402_desk", None)
    with pytest.raises(ModuleNotFoundError):
        open_desk(settings, ledger)


@pytest.mark.parametrize(
    ("octets", "reason"),
    [(None, "cannot be read"), (b"\n", "empty"), (b"a\nb", "more than"), (b"\xff", "ASCII")],
)
def test_a_secret_that_is_none(
    tmp_path: Path, ledger: Ledger, octets: bytes | None, reason: str
) -> None:
    path = tmp_path / "secret"
    if octets is not None:
        path.write_bytes(octets)
    settings = read(tmp_path, LEAST + X402 + f'{PATH} = "{path}"\n')
    with pytest.raises(SettingsError, match=reason):
        open_desk(settings, ledger)


@pytest.mark.parametrize(("workers", "at_once"), [(1, 1), (2, 1), (3, 2)])
def test_a_process_stays_free(tmp_path: Path, ledger: Ledger, workers: int, at_once: int) -> None:
    path = tmp_path / "secret"
    path.write_text("a-secret\n")
    more = f"workers = {workers}\n"
    desk = open_desk(read(tmp_path, LEAST + more + X402 + f'{PATH} = "{path}"\n'), ledger)
    assert desk is not None
    assert desk._intents._at_once == at_once
    assert desk._facilitator._provider is not None

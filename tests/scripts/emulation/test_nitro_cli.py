"""The real nitro-cli as a program: how it is built, asked, and refused by."""

from pathlib import Path

import pytest

from scripts.emulation import nitro_cli
from scripts.image.reader import ReaderError, Refused


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_it_describes_an_image_and_logs_nowhere_on_this_machine(tmp_path: Path) -> None:
    says = program(
        tmp_path / "cli", 'echo "{\\"Asked\\": \\"$*\\", \\"Logs\\": \\"$NITRO_CLI_LOGS_PATH\\"}"'
    )
    found = nitro_cli.describe(says, Path("x.eif"))
    assert found["Asked"] == "describe-eif --eif-path x.eif"
    assert not Path(found["Logs"]).exists()


def test_a_refusal_keeps_its_words(tmp_path: Path) -> None:
    says = program(tmp_path / "cli", "echo '[ E35 ] EIF file parsing error.' >&2; exit 35")
    with pytest.raises(Refused, match=r"^\[ E35 \] EIF file parsing error\.$"):
        nitro_cli.describe(says, Path("x.eif"))


def test_it_is_built_from_one_version_with_its_own_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReaderError, match="there is none"):
        nitro_cli.install(tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program(tmp_path / "cargo", f'echo "$*" >{tmp_path / "asked"}')
    installed = nitro_cli.install(tmp_path)
    assert installed == tmp_path / f"nitro-cli-{nitro_cli.VERSION}/bin/nitro-cli"
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith("install aws-nitro-enclaves-cli --version =1.5.2 --locked ")
    program(tmp_path / "cargo", "echo no crate >&2; exit 101")
    with pytest.raises(ReaderError, match="no crate"):
        nitro_cli.install(tmp_path)

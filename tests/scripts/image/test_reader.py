"""AWS's reader as a program: how it is built, and how its refusals are told."""

import sys
from pathlib import Path

import pytest

from scripts.image import reader
from scripts.image.reader import ReaderError, Refused


def program(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_what_the_reader_finds_is_returned(tmp_path: Path) -> None:
    says = program(tmp_path / "reader", """echo "{\\"Measurements\\": {\\"read\\": \\"$1\\"}}" """)
    assert reader.describe(says, Path("x.eif")) == {"Measurements": {"read": "x.eif"}}


def test_a_refusal_keeps_the_readers_reason(tmp_path: Path) -> None:
    says = program(tmp_path / "reader", "echo missing field >&2; exit 1")
    with pytest.raises(Refused, match=r"^missing field$"):
        reader.describe(says, Path("x.eif"))


def test_a_machine_without_rust_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ReaderError, match="cargo, and libssl-dev and pkg-config"):
        reader.build(tmp_path)


def test_the_reader_is_built_from_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    program(tmp_path / "cargo", f'echo "$CARGO_TARGET_DIR $*" >{tmp_path / "asked"}')
    assert reader.build(tmp_path / "work") == tmp_path / "work/eif-reader/debug/eif-reader"
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"{tmp_path / 'work/eif-reader'} build --locked ")
    program(tmp_path / "cargo", "echo no crate >&2; exit 101")
    with pytest.raises(ReaderError, match="no crate"):
        reader.build(tmp_path / "work")


def test_the_crate_is_pinned_to_the_version_without_awss_sdk() -> None:
    lock = (reader.CRATE / "Cargo.lock").read_text()
    assert 'name = "aws-nitro-enclaves-image-format"\nversion = "0.3.0"\n' in lock
    assert '"=0.3.0"' in (reader.CRATE / "Cargo.toml").read_text()
    assert "aws-sdk" not in lock


def test_an_image_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = tmp_path / "absent.eif"
    monkeypatch.setattr(sys, "argv", ["describe-eif", "--work", str(tmp_path), str(absent)])
    assert reader.main() == 1
    assert (
        capsys.readouterr().err
        == f"describe-eif: cannot read {absent}: No such file or directory\n"
    )


def test_a_refused_image_is_a_status_and_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "x.eif"
    image.touch()
    says = program(tmp_path / "reader", "echo missing field >&2; exit 1")
    monkeypatch.setattr(reader, "build", lambda _: says)
    monkeypatch.setattr(sys, "argv", ["describe-eif", str(image)])
    assert reader.main() == 1
    shown = capsys.readouterr()
    assert shown.err == f"describe-eif: AWS's reader refuses {image}: missing field\n"
    assert shown.out == ""

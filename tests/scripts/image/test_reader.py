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


PANIC = """
thread 'main' (4711) panicked at src/utils/eif_reader.rs:12:9:
slice index starts at 9 but ends at 3
{}note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace
"""
TRACE = "stack backtrace:\n   0: rust_begin_unwind\n   1: core::panicking::panic_fmt\n"


@pytest.mark.parametrize("said", [PANIC.format(""), PANIC.format(TRACE)])
def test_a_panic_is_told_without_its_trace(tmp_path: Path, said: str) -> None:
    (tmp_path / "said").write_text(said)
    says = program(tmp_path / "reader", f"cat {tmp_path / 'said'} >&2; exit 101")
    with pytest.raises(Refused, match=r"^slice index starts at 9 but ends at 3$"):
        reader.describe(says, Path("x.eif"))


def test_an_error_is_told_without_its_trace(tmp_path: Path) -> None:
    says = program(tmp_path / "reader", "printf 'no header\\nBacktrace:\\n 0: x\\n' >&2; exit 1")
    with pytest.raises(Refused, match=r"^no header$"):
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

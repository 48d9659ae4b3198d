"""The command that measures: registers as nitro-cli prints them, or one sentence."""

import json
import sys
from pathlib import Path

import pytest

from scripts.image import eif, measure
from scripts.image.eif import Kind, Section

SECTIONS = [
    Section(Kind.KERNEL, b"kernel"),
    Section(Kind.CMDLINE, b"reboot=k"),
    Section(Kind.METADATA, b"{}"),
    Section(Kind.RAMDISK, b"boot"),
    Section(Kind.RAMDISK, b"application"),
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["measure-eif", *map(str, arguments)])
    return measure.main()


def test_an_image_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = tmp_path / "image.eif"
    image.write_bytes(eif.encode(SECTIONS))
    assert run(monkeypatch, image) == 0
    printed = json.loads(capsys.readouterr().out)["Measurements"]
    assert {name: printed[name] for name in eif.measure(SECTIONS)} == eif.measure(SECTIONS)


def test_what_is_no_image_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.eif").write_bytes(b"no image")
    for path, words in (
        (tmp_path / "no.eif", "measure-eif: "),
        (tmp_path / "absent", "cannot read"),
    ):
        assert run(monkeypatch, path) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert words in captured.err
        assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code"), [(["--help"], 0), (["-h"], 0), ([], 2), (["a", "b"], 2), (["--pcr"], 2)]
)
def test_usage_is_told(
    arguments: list[str],
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *arguments) == code
    captured = capsys.readouterr()
    assert "scripts/measure-eif FILE" in (captured.out if code == 0 else captured.err)

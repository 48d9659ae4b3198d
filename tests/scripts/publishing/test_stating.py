"""Statements are of what an image measures."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from scripts.image import eif
from scripts.publishing.stating import PublishingError, measured, state
from tests.support.enclave_image import sections
from tests.support.releases import NOW


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A small image."""
    path = tmp_path / "image.eif"
    path.write_bytes(eif.encode(sections()))
    return path


@pytest.fixture
def members(tmp_path: Path) -> dict[str, Any]:
    """What no image tells of itself."""
    for name in ("config", "sbom"):
        (tmp_path / name).write_text(name)
    return {
        **{"version": "1.5.0", "sequence": 5, "floor": 3, "valid_from": NOW, "commit": "0" * 40},
        **{"kernel": "debian-6.12", "config": tmp_path / "config", "sbom": tmp_path / "sbom"},
    }


def test_the_list_has_what_measure_eif_prints(
    image: Path, members: dict[str, Any], tmp_path: Path
) -> None:
    printed = tmp_path / "measurements.json"
    printed.write_text(eif.nitro_cli_json(eif.measure(eif.decode(image.read_bytes()))))
    found = state(image, printed, members)
    registers = json.loads(printed.read_text())["Measurements"]
    assert {f"PCR{index}": value.hex() for index, value in found.pcrs.items()} == {
        name: value for name, value in registers.items() if name.startswith("PCR")
    }
    assert found.image == hashlib.sha256(image.read_bytes()).hexdigest()
    assert found.config == hashlib.sha256(b"config").hexdigest()
    assert found.sbom == hashlib.sha256(b"sbom").hexdigest()
    assert (found.version, found.sequence, found.floor, found.valid_from) == ("1.5.0", 5, 3, NOW)


def test_measurements_of_another_image_are_none(image: Path, tmp_path: Path) -> None:
    printed = tmp_path / "measurements.json"
    registers = eif.measure(eif.decode(image.read_bytes()))
    assert measured(image, None)
    for content in (
        eif.nitro_cli_json({**registers, "PCR1": "11" * 48}),
        eif.nitro_cli_json({"PCR0": registers["PCR0"]}),
        "[]",
        "no JSON",
    ):
        printed.write_text(content)
        with pytest.raises(PublishingError):
            measured(image, printed)


@pytest.mark.parametrize(
    "wrong", [{"floor": 6}, {"version": "1 5"}, {"commit": "main"}, {"valid_from": 0}]
)
def test_what_is_no_statement(image: Path, members: dict[str, Any], wrong: dict[str, Any]) -> None:
    with pytest.raises(PublishingError):
        state(image, None, {**members, **wrong})

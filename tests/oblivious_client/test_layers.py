"""What counts of measurements, of who is trusted and of mirrors, and where it comes from."""

import argparse
from pathlib import Path

import pytest

from oblivious_client import configuration, layers
from oblivious_client.configuration import Configuration
from oblivious_client.options import COMMANDS, parse
from tests.support.releases import WITNESSES


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RELAY", "GATEWAY", "PCRS", "TRUST", "MODEL"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


def file_says(said: Configuration) -> str:
    configuration.write(configuration.place(), said)
    return str(configuration.place())


def demanded(*words: str) -> list[tuple[str | None, str]]:
    found = layers.demanded(parse(["keys", *words], COMMANDS))
    return [(each.text, each.source) for each in found if each.value is not None]


def test_nothing_is_demanded_that_nothing_says() -> None:
    assert demanded() == []


def test_of_what_is_said_now_the_measurements_count(monkeypatch: pytest.MonkeyPatch) -> None:
    assert demanded("--trust", "t") == [("t", layers.COMMAND_LINE)]
    assert demanded("--trust", "t", "--pcrs", "p") == [("p", layers.COMMAND_LINE)]
    monkeypatch.setenv("OBLIVIOUS_PCRS", "q")
    assert demanded("--trust", "t") == [("q", "OBLIVIOUS_PCRS")]
    assert demanded("--pcrs", "p") == [("p", layers.COMMAND_LINE)]


def test_the_file_counts_where_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_says(Configuration(trust="/trust"))
    assert demanded() == demanded("--releases", "l") == [("/trust", path)]
    assert demanded("--pcrs", "p") == [("p", layers.COMMAND_LINE)]
    path = file_says(Configuration(pcrs="/pins"))
    assert demanded() == [("/pins", path)]
    assert demanded("--trust", "t") == [("t", layers.COMMAND_LINE)]
    monkeypatch.setenv("OBLIVIOUS_TRUST", "u")
    assert demanded() == [("u", "OBLIVIOUS_TRUST")]


def test_who_names_a_list_of_releases_does_not_mean_the_measurements_of_the_file() -> None:
    file_says(Configuration(pcrs="/pins"))
    assert demanded("--releases", "l") == []


def test_a_command_without_the_option_has_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    path = file_says(Configuration(model="m"))
    assert layers.single(argparse.Namespace(), "model") == layers.Found("m", path)
    monkeypatch.setenv("OBLIVIOUS_MODEL", "n")
    assert layers.single(argparse.Namespace(model=None), "model").source == "OBLIVIOUS_MODEL"
    assert layers.single(argparse.Namespace(model="o"), "model").text == "o"


def mirrored(*words: str) -> dict[str, tuple[object, str]]:
    found = layers.mirrored(parse(["keys", *words], COMMANDS))
    return {name: (each.value, each.source) for name, each in found.items() if each.value}


def test_mirrors_of_the_file_are_wanted_as_it_says_unless_others_are_named() -> None:
    key, other = (each.key.encode() for each in WITNESSES[:2])
    assert mirrored() == {}
    path = file_says(Configuration(mirror=(key,), mirrors=1, mirror_of="g", mirror_down="warn"))
    of_file = {"mirror": ((key,), path), "mirrors": ("1", path), "mirror_of": ("g", path)}
    assert mirrored() == of_file | {"mirror_down": ("warn", path)}
    refusing = of_file | {"mirror_down": ("refuse", layers.COMMAND_LINE)}
    assert mirrored("--mirror-down", "refuse") == refusing
    assert mirrored("--mirror", other) == {"mirror": ((other,), layers.COMMAND_LINE)}

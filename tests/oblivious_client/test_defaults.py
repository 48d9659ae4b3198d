"""Defaults, and that everything that knows them knows the same."""

from configparser import ConfigParser
from pathlib import Path

from oblivious_client import client, policy
from oblivious_client.defaults import DEFAULT_MODEL, MAX_AGE_SECONDS, VERSION
from oblivious_client.help_text import HELP


def test_there_is_one_of_each() -> None:
    assert client.DEFAULT_MODEL == DEFAULT_MODEL == "smollm2-135m-instruct"
    assert policy.MAX_AGE_SECONDS == MAX_AGE_SECONDS == 3600
    assert f"(default {DEFAULT_MODEL})" in HELP
    assert f"(default {MAX_AGE_SECONDS})" in HELP


def test_the_version_is_the_packages() -> None:
    package = ConfigParser()
    package.read(Path(__file__).parents[2] / "setup.cfg")
    assert package["metadata"]["version"] == VERSION

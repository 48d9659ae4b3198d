"""The command as a whole, in this process: help, version, and what is wrong, with their codes."""

import importlib.metadata

import pytest

from oblivious_client import cli, help_text
from oblivious_client.exits import Exit


@pytest.mark.parametrize("word", ["help", "--help", "-h"])
def test_help_is_printed(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([word]) == Exit.OK
    assert help_text.HELP in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--version"])
def test_the_version_is_that_of_what_is_installed(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word]) == Exit.OK
    version = importlib.metadata.version("oblivious-inference")
    assert capsys.readouterr().out == f"oblivious-client {version}\n"

"""The text of `--help`: what it says of commands, options and variables is there."""

import re

import pytest

from oblivious_client import options
from oblivious_client.commands import COMMANDS
from oblivious_client.exits import Exit
from oblivious_client.help_text import HELP


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_is_told(command: str) -> None:
    assert re.search(rf"^  oblivious-client {command} ", HELP, re.MULTILINE)


def test_every_action_on_tokens_is_told() -> None:
    told = re.search(r"^tokens:\n((?:  .*\n)+)", HELP, re.MULTILINE)
    assert told is not None
    actions = [line.split()[0] for line in told[1].splitlines()]
    assert actions == list(options._TOKEN_PARSERS)


def test_every_option_of_a_parser_is_told() -> None:
    parsers = [*options.PARSERS.values(), *options._TOKEN_PARSERS.values()]
    known = {name for parser in parsers for name in parser()._option_string_actions}
    assert known <= set(re.findall(r"--[a-z-]+", HELP)) | {"-h", "--help"}


def test_every_exit_code_is_told() -> None:
    assert all(f"{int(code):>3}  {code.meaning}" in HELP for code in Exit)


@pytest.mark.parametrize("name", ["RELAY", "GATEWAY", "PCRS", "MODEL", "WALLET", "ISSUER_KEY"])
def test_every_variable_is_told(name: str) -> None:
    assert f"[OBLIVIOUS_{name}" in HELP


def test_no_line_is_wider_than_a_screen() -> None:
    assert max(map(len, HELP.splitlines())) <= 100

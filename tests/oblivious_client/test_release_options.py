"""Options about releases and mirrors, as they are typed."""

import subprocess
import sys

import pytest

from oblivious_client import options
from oblivious_client.errors import UsageError
from oblivious_client.options import PARSERS
from oblivious_client.release_commands import ACTIONS as DONE
from oblivious_client.release_options import ACTIONS
from tests.support.releases import WITNESSES

VKEY = WITNESSES[0].key.encode()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mirror", "no key"], "invalid key of signed notes value: 'no key'"),
        (["--mirror", VKEY[:-1]], "invalid key of signed notes value"),
        (["--mirror", VKEY, "--mirrors", "0"], "invalid number of mirrors value: '0'"),
        (["--mirror-down", "shrug"], "invalid choice"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        options.parse(["keys", *words], tuple(PARSERS))


def test_each_action_is_done() -> None:
    assert set(ACTIONS) == set(DONE)


def test_who_asks_for_help_does_not_wait_for_releases() -> None:
    program = """
import sys
from oblivious_client import options
options.parse(["releases", "list", "--trust", "t"], tuple(options.PARSERS))
print([name for name in sys.modules if name.startswith(("oblivious_client.releases", "cryptogr"))])
"""
    command = [sys.executable, "-c", program]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"

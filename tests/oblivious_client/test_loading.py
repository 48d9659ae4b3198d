"""What is loaded when: help needs next to nothing, and each name all that it stands for."""

import subprocess
import sys
from pathlib import Path

import pytest

import oblivious_client
from oblivious_client.commands import COMMANDS
from oblivious_client.options import COMMANDS as NAMES

ROOT = Path(__file__).parents[2]
HEAVY = {"httpx", "httpcore", "cryptography", "cbor2", "h11", "anyio", "asyncio", "ssl"}
HEAVY |= {"email", "importlib.metadata", "oblivious_client.releases", "sqlite3", "tomllib"}
SHOWN = """\
import sys
from oblivious_client.cli import main
main({words!r})
print(sorted({heavy!r} & set(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], ["chat", "--no-such-option"], ["sing"]]
)
def test_who_asks_for_help_or_mistypes_does_not_wait(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", SHOWN.format(words=words, heavy=HEAVY)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_question_does_not_wait_for_what_other_commands_need() -> None:
    others = {"asyncio", "oblivious_client.local", "oblivious_client.setting_up"}
    others |= {f"oblivious_client.{name}" for name in ("archive", "completions", "conversing")}
    others |= {f"oblivious_client.{name}" for name in ("programs", "provision", "token_commands")}
    shown = f"import sys, oblivious_client.commands\nprint(sorted({others!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", shown],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


def test_every_command_has_its_options() -> None:
    assert set(NAMES) == set(COMMANDS)
    assert len(NAMES) == len(COMMANDS)


@pytest.mark.parametrize("name", oblivious_client.__all__)
def test_each_name_that_is_offered_is_there(name: str) -> None:
    assert getattr(oblivious_client, name).__module__.startswith("oblivious_client.")
    assert name in dir(oblivious_client)
    assert name in vars(oblivious_client)  # found once, it is not looked for again


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        oblivious_client.nothing  # noqa: B018 - that it cannot be named is what is tested
    assert set(oblivious_client._WHERE) == set(oblivious_client.__all__)

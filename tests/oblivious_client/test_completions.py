"""Completions: each shell takes them, and bash completes with them."""

import shutil
import subprocess

import pytest

from oblivious_client import completions
from oblivious_client.options import PARSERS, SHELLS


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_and_option_is_in_it(shell: str) -> None:
    text = completions.script(shell)
    assert all(name in text for name in PARSERS)
    assert all(word in text for word in ("allow-simulated", "temperature", "claude-code", "serve"))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_reads_it(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    done = subprocess.run(
        [shell, "-n"], input=completions.script(shell), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("com", ["completions"]),
        ("c", ["config", "chat", "completions"]),
        ("chat --te", ["--temperature"]),
        ("env --for cl", ["claude-code"]),
        ("serve in", ["install"]),
        ("chat --relay x", []),
    ],
)
def test_bash_completes(words: str, found: list[str]) -> None:
    typed = f"oblivious-client {words}".split(" ")
    asked = (
        f"COMP_WORDS=({' '.join(typed)}); COMP_CWORD={len(typed) - 1}; "
        '_oblivious_client; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", completions.script("bash") + asked],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == found


def test_files_are_offered_where_files_are_wanted_and_nothing_elsewhere() -> None:
    values = {
        (name, option): completions._bash_values(action)
        for name, option, action in completions._with_values()
    }
    assert values["chat", "--relay"] == "-W ''"
    assert values["chat", "--image"] == values["setup", "--root"] == "-f"
    assert values["setup", "--mirror-down"] == "-W 'refuse warn'"


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("zsh", "        'chat --image') _files; return;;"),
        ("zsh", "        'chat --relay') :; return;;"),
        ("zsh", "        'setup --mirror-down') compadd -- refuse warn; return;;"),
        ("fish", "{} chat' -l image -r"),
        ("fish", "{} chat' -l relay -x"),
        ("fish", "{} setup' -l mirror-down -x -a 'refuse warn'"),
        ("fish", "{} chat' -l allow-simulated"),
        ("fish", "{} completions' -f -a 'bash zsh fish'"),
        ("fish", "complete -c oblivious-client -n __fish_use_subcommand -l version"),
    ],
)
def test_other_shells_offer_the_same(shell: str, line: str) -> None:
    head = "complete -c oblivious-client -n '__fish_seen_subcommand_from"
    assert line.format(head) in completions.script(shell).splitlines()

"""Completions for shells, made of the options themselves, so that they cannot lag behind them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from oblivious_client.options import PARSERS

PROGRAM = "oblivious-client"

_BASH = """\
# Completions of oblivious-client for bash: source <(oblivious-client completions bash)
_oblivious_client() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W '{commands} help --help --version' -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}} $before" in
{values}
    esac
    case "${{COMP_WORDS[1]}}" in
{words}
    esac
}}
complete -o default -F _oblivious_client oblivious-client
"""

_ZSH = """\
#compdef oblivious-client
# Completions of oblivious-client for zsh: source <(oblivious-client completions zsh)
_oblivious_client() {{
    if (( CURRENT == 2 )); then
        compadd -- {commands} help --help --version
        return
    fi
    case "${{words[2]}} ${{words[CURRENT-1]}}" in
{values}
    esac
    case "${{words[2]}}" in
{words}
    esac
    _files
}}
compdef _oblivious_client oblivious-client
"""


def script(shell: str) -> str:
    """Return the completions for bash, zsh or fish."""
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell]()


def _bash() -> str:
    return _BASH.format(
        commands=" ".join(PARSERS),
        words="\n".join(
            f"        {name}) COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$word\"));;"
            for name, words in _words()
        ),
        values="\n".join(
            f"        '{name} {option}') COMPREPLY=($(compgen {_bash_values(action)} --"
            ' "$word")); return;;'
            for name, option, action in _with_values()
        ),
    )


def _bash_values(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"-W '{' '.join(map(str, action.choices))}'"
    return "-f" if _is_file(action) else "-W ''"


def _zsh() -> str:
    return _ZSH.format(
        commands=" ".join(PARSERS),
        words="\n".join(
            f"        {name}) compadd -- {' '.join(words)};;" for name, words in _words()
        ),
        values="\n".join(
            f"        '{name} {option}') {_zsh_values(action)}; return;;"
            for name, option, action in _with_values()
        ),
    )


def _zsh_values(action: argparse.Action) -> str:
    if action.choices is not None:
        return f"compadd -- {' '.join(map(str, action.choices))}"
    return "_files" if _is_file(action) else ":"


def _fish() -> str:
    lines = [
        "# Completions of oblivious-client for fish: oblivious-client completions fish | source",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -f -a '{' '.join(PARSERS)} help'",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -l version",
        f"complete -c {PROGRAM} -n __fish_use_subcommand -l help",
    ]
    for name, action in _actions():
        head = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {name}'"
        if not action.option_strings:
            if action.choices is not None:
                lines.append(f"{head} -f -a '{' '.join(map(str, action.choices))}'")
            continue
        line = f"{head} -l {action.option_strings[0].removeprefix('--')}"
        if action.nargs != 0:
            line += " -r" if _is_file(action) else " -x"
        if action.choices is not None:
            line += f" -a '{' '.join(map(str, action.choices))}'"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _actions() -> Iterator[tuple[str, argparse.Action]]:
    for name, parser in PARSERS.items():
        for action in parser()._actions:  # argparse has no other list of what it parses
            yield name, action


def _words() -> Iterator[tuple[str, list[str]]]:
    """Yield each command with all that can stand behind it as a word of its own."""
    found: dict[str, list[str]] = {name: [] for name in PARSERS}
    for name, action in _actions():
        found[name] += action.option_strings or map(str, action.choices or ())
    yield from found.items()


def _with_values() -> Iterator[tuple[str, str, argparse.Action]]:
    for name, action in _actions():
        for option in action.option_strings:
            if action.nargs != 0:
                yield name, option, action


def _is_file(action: argparse.Action) -> bool:
    return action.type is Path or action.dest == "pcrs"

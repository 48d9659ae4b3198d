"""Options about releases and mirrors, as they are typed; `release_settings` says what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from protocol.note_key import NoteKey

ACTIONS = ("fetch", "list", "show", "pin", "audit", "key", "sign", "witness", "mirror")


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the options that every command has."""
    parser.add_argument("--trust")
    parser.add_argument("--releases", type=Path)
    parser.add_argument("--mirror", type=_note_key, action="append")
    parser.add_argument("--mirrors", type=_threshold)
    parser.add_argument("--mirror-of")
    parser.add_argument("--mirror-down", choices=("refuse", "warn"))


def add_actions_to(parser: argparse.ArgumentParser) -> None:
    """Add what `releases` takes."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--forget", action="store_true")
    parser.add_argument("--witness", action="store_true")
    parser.add_argument("--name")
    for name in ("--out", "--build", "--key", "--measurements"):
        parser.add_argument(name, type=Path)


def _note_key(text: str) -> NoteKey:
    # Few name a mirror; the others do not wait for what reading its key needs.
    from protocol.errors import ProtocolError
    from protocol.note_key import NoteKey

    try:
        return NoteKey.decode(text)
    except ProtocolError as error:
        raise ValueError from error


def _threshold(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError
    return value


# argparse names the types in its errors.
_note_key.__name__ = "key of signed notes"
_threshold.__name__ = "number of mirrors"

"""What reaches a terminal, and what is typed at one.

A model, and whoever speaks to it, may try to write control sequences: to move the cursor over
what was verified, to set a title, to fill the clipboard. So of what others wrote nothing reaches a
terminal but printable characters, line ends and tabs. Marks that only turn the direction of text
are not printable either; the two that join letters, which several scripts cannot be written
without, and which draw nothing, pass.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, TextIO

_JOINERS = "\u200c\u200d"


def is_terminal(stream: TextIO) -> bool:
    """Whether a person sees or types what passes."""
    return stream.isatty()


def harmless(text: str) -> str:
    """Return `text` without what a terminal would obey."""
    return "".join(each for each in text if each.isprintable() or each in "\n\t" + _JOINERS)


def fit_for(stream: TextIO, text: str) -> str:
    """Return what may be written there: a file or a pipe gets everything, a terminal only text."""
    return harmless(text) if is_terminal(stream) else text


def note(text: str) -> None:
    """Write a line to standard error: standard output belongs to the answer."""
    print(fit_for(sys.stderr, text), file=sys.stderr)


def print_json(value: Any) -> None:
    """Print what programs read; JSON of ASCII characters holds nothing that a terminal obeys."""
    print(json.dumps(value, indent=2))


def allow_editing() -> None:
    """Have `input` edit lines and recall earlier ones, where the system has readline.

    What is recalled is this program's own memory: it is read from no file and written to none.
    """
    with suppress(ImportError):  # Windows' console edits by itself
        readline = import_module("readline")
        # A reader of prompts on disk would learn what no relay does.
        readline.clear_history()
        readline.set_auto_history(True)

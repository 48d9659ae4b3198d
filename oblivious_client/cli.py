"""The `oblivious-client` command: one table of commands, one place where errors become exits."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys

from oblivious_client import help_text, options
from oblivious_client.defaults import VERSION
from oblivious_client.exits import Exit
from oblivious_client.failure import ClientError
from oblivious_client.terminal import fit_for


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    # A stream that was closed at the start is None, and `print` would take the other for it.
    sys.stdout, sys.stderr = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what a terminal cannot show ends no answer
    try:
        return _run(options.parse(given, options.COMMANDS))
    except ClientError as error:
        return _fail(given, str(error), error.advice, error.code)
    except KeyboardInterrupt as error:
        if not error.args:  # whoever has said more has put it there
            print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        _give_up_output()  # whoever read the answer has enough
        return Exit.FAILURE
    except OSError as error:
        _give_up_output()
        advice = "is there room where the output goes?"
        return _fail(
            given, f"input or output failed: {error.strerror or error}", advice, Exit.FAILURE
        )


def _run(chosen: argparse.Namespace) -> int:
    if chosen.command == "help":
        print(help_text.HELP)
        return Exit.OK
    if chosen.command == "version":
        print(f"oblivious-client {VERSION}")
        return Exit.OK
    # Whoever asks for help, or mistypes, does not wait for what a question needs.
    from oblivious_client.commands import COMMANDS

    return COMMANDS[chosen.command](chosen)


def _give_up_output() -> None:
    # The flush at exit must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(given: list[str], message: str, advice: str, code: Exit) -> int:
    # Of what relays and services wrote, a terminal gets the text alone.
    print(fit_for(sys.stderr, f"error: {message}"), file=sys.stderr)
    if advice:
        print(fit_for(sys.stderr, f"  {advice}"), file=sys.stderr)
    if "--json" in given:
        print(json.dumps({"verified": False, "error": message, "exit": code, "name": code.name}))
    return code

"""The command `token-issuer`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from protocol.errors import ProtocolError
from token_issuer import account_commands, key_commands, payment_commands
from token_issuer.counts_directory import counts_directory
from token_issuer.database import DatabaseError
from token_issuer.key_files import KeyFileError
from token_issuer.key_plan import PlanError
from token_issuer.ledger import UnknownAccount
from token_issuer.settings import Settings, SettingsError, read_settings

DEFAULT_SETTINGS = "/etc/oblivious-inference/issuer.toml"
VARIABLE = "TOKEN_ISSUER_CONFIG"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code: 1 if it failed, 2 if it is wrong."""
    os.umask(0o077)  # what is written here is money
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(read_settings(options.config), options)
    except (SettingsError, KeyFileError, DatabaseError, PlanError) as error:
        return _say(str(error))
    except UnknownAccount:
        return _say("There is no such account.")
    except DBAPIError as error:
        reason = str(error.orig).partition("\n")[0].rstrip(".")
        return _say(f"The ledger cannot be used: {reason}.")
    except (ProtocolError, ValueError, OSError) as error:
        return _say(f"{error}.")
    return code


class _Parser(argparse.ArgumentParser):
    """Takes options by their whole names: a short one could mean another in the next version."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line."""
    made = _Parser(
        prog="token-issuer", description="Sells tokens, and cannot tell which it sold to whom."
    )
    made.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get(VARIABLE, DEFAULT_SETTINGS)),
        help=f"default {DEFAULT_SETTINGS} [{VARIABLE}]",
    )
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    key_commands.add_parser(commands)
    account_commands.add_parsers(commands)
    payment_commands.add_parser(commands)
    commands.add_parser("serve", help="answer requests until SIGTERM").set_defaults(run=_serve)
    return made


def _serve(settings: Settings, _: argparse.Namespace) -> int:
    with counts_directory():
        # Here and not above: prometheus_client looks at the environment when it is imported.
        from token_issuer.serving import serve

        serve(settings)
    return 0


def _say(sentence: str) -> int:
    sys.stderr.write(f"token-issuer: {sentence}\n")
    return 1

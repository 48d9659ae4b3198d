"""`token-issuer payments`: payments by x402 of which it is to be decided whether they were made."""

import argparse
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from token_issuer.intent import NoIntent, Occupied
from token_issuer.intents import Intents
from token_issuer.ledger import Ledger
from token_issuer.settings import Settings, SettingsError
from token_issuer.upgrade import upgraded_ledger
from token_issuer.x402_setup import open_desk

_REFERENCE = re.compile(r"[0-9a-f]{64}")
_TRANSACTION = re.compile(r"0x[0-9a-f]{64}")

Run = Callable[[Settings, argparse.Namespace], int]


def add_parser(commands: Any) -> None:
    """Add the command and what it takes."""
    parser = commands.add_parser("payments", help="payments by x402 that are not decided")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list those that are open or unclear")
    listing.add_argument("--all", action="store_true", help="those that are decided, too")
    listing.set_defaults(run=_with_intents(_list))
    reconcile = actions.add_parser("reconcile", help="settle and credit what was left open")
    reconcile.set_defaults(run=_reconcile)
    credit = _of_one(actions, "credit", "credit one that was found on the chain")
    credit.add_argument("--transaction", type=_transaction, required=True, help="that paid it")
    credit.set_defaults(run=_with_intents(_credit))
    refuse = _of_one(actions, "refuse", "decide that one was not paid")
    refuse.set_defaults(run=_with_intents(_refuse))


def _of_one(actions: Any, name: str, about: str) -> Any:
    parser = actions.add_parser(name, help=about)
    parser.add_argument("reference", type=_reference, help="as `payments list` has it")
    return parser


def _reference(text: str) -> str:
    if _REFERENCE.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"{text}: no reference")
    return text


def _transaction(text: str) -> str:
    if _TRANSACTION.fullmatch(text.lower()) is None:
        raise argparse.ArgumentTypeError(f"{text}: no transaction")
    return text.lower()


def _list(intents: Intents, options: argparse.Namespace) -> int:
    print("reference  when  until  state  sent  units  transaction")
    for each in intents.listed():
        if each.is_decided and not options.all:
            continue
        times = (_when(each.at), _when(each.ends))
        sent = "sent" if each.in_doubt else "-"
        shown = (each.reference, *times, each.state, sent, each.units, each.transaction or "-")
        print("  ".join(map(str, shown)))
    return 0


def _reconcile(settings: Settings, _: argparse.Namespace) -> int:
    with upgraded_ledger(settings) as ledger:
        desk = open_desk(settings, ledger)
        if desk is None:
            raise SettingsError("Payments by x402 are not configured: there is no [x402].")
        for reference, outcome in desk.reconcile():
            print(f"{reference}  {outcome}", flush=True)
    return 0


def _credit(intents: Intents, options: argparse.Namespace) -> int:
    credited = intents.credit(options.reference, options.transaction, time.time())
    print(f"credited {credited.units} units to account {credited.account}")
    return 0


def _refuse(intents: Intents, options: argparse.Namespace) -> int:
    intents.give_up(options.reference, time.time())
    return 0


def _with_intents(command: Callable[[Intents, argparse.Namespace], int]) -> Run:
    """Return what has argparse run a command on the intents of the settings' ledger."""

    def run(settings: Settings, options: argparse.Namespace) -> int:
        with upgraded_ledger(settings) as ledger:
            try:
                return command(_intents(ledger), options)
            except NoIntent:
                raise ValueError("There is no such payment that is undecided") from None
            except Occupied:
                raise ValueError("A process is at it: try again in a minute") from None

    return run


def _intents(ledger: Ledger) -> Intents:
    return Intents(ledger, 1)


def _when(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

"""`token-issuer vouchers` and `token-issuer accounts`: selling by hand, and looking after it."""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from protocol.token_prices import PricePoint
from token_issuer.accounts import Account, Allowance
from token_issuer.administration import (
    all_accounts,
    disable,
    discrepancies,
    last_lines,
    open_account,
)
from token_issuer.ledger import Ledger
from token_issuer.settings import Settings
from token_issuer.upgrade import upgraded_ledger

DAY = 86_400
BY_HAND = "credit"
"""The kind of entry of what an administrator adds."""

MAX_DIGITS = 15
"""Of a number on the command line: less than any balance may be."""

MAX_DAYS = 36_500
"""On the command line; in seconds these and the time of now have to fit into a column."""

SHOWN_LINES = 100
"""Of an account's entries, the last ones."""

Run = Callable[[Settings, argparse.Namespace], int]


def add_parsers(commands: Any) -> None:
    """Add both commands and what they take."""
    _add_vouchers(commands.add_parser("vouchers", help="accounts with a printed secret"))
    _add_accounts(commands.add_parser("accounts", help="accounts and their balances"))


def _add_vouchers(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make vouchers and print their secrets, one a line")
    new.add_argument("--units", type=_positive, required=True, help="of each")
    new.add_argument("--count", type=_positive, default=1, help="how many (default 1)")
    new.add_argument("--days", type=_days, help="for which they can be spent")
    new.add_argument("--name", default="", help="what `accounts list` calls them")
    new.set_defaults(**_with_ledger(_new_vouchers))


def _add_accounts(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="open an account and print its number and its secret")
    new.add_argument("--units", type=_number, default=0, help="to begin with (default 0)")
    new.add_argument("--days", type=_days, help="for which it can be spent")
    new.add_argument("--name", default="", help="what `accounts list` calls it")
    new.add_argument("--allowance", type=_number, default=0, help="units for nothing, each period")
    new.add_argument("--price", default="c1", help="the price point of those (default c1)")
    new.add_argument("--period-days", type=_days, default=1, help="default 1")
    new.set_defaults(**_with_ledger(_new_account))
    actions.add_parser("list", help="list all accounts").set_defaults(**_with_ledger(_list))
    actions.add_parser(
        "check", help="see that each balance is the sum of its entries"
    ).set_defaults(**_with_ledger(_check))
    _of_one(actions, "show", "print an account's last entries").set_defaults(**_with_ledger(_show))
    _of_one(actions, "disable", "have it spend no more").set_defaults(**_with_ledger(_disable))
    _of_one(actions, "enable", "have it spend again").set_defaults(**_with_ledger(_enable))
    credit = _of_one(actions, "credit", "add units, once for each reference")
    credit.add_argument("units", type=_positive)
    credit.add_argument("--reference", required=True, help="of the payment, such as a transfer's")
    credit.set_defaults(**_with_ledger(_credit))


def _of_one(actions: Any, name: str, about: str) -> Any:
    parser = actions.add_parser(name, help=about)
    parser.add_argument("account", type=_positive, help="its number")
    return parser


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text}: no number")
    return int(text)


def _positive(text: str) -> int:
    number = _number(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text}: no positive number")
    return number


def _days(text: str) -> int:
    number = _positive(text)
    if number > MAX_DAYS:
        raise argparse.ArgumentTypeError(f"{text}: more than {MAX_DAYS} days")
    return number


def _new_vouchers(ledger: Ledger, options: argparse.Namespace) -> int:
    now = int(time.time())
    for _ in range(options.count):
        expires = _expiry(options, now)
        _, secret = open_account(
            ledger, now, units=options.units, name=options.name, expires=expires
        )
        print(secret, flush=True)
    return 0


def _new_account(ledger: Ledger, options: argparse.Namespace) -> int:
    now, price = int(time.time()), PricePoint.decode(options.price).units
    number, secret = open_account(
        ledger,
        now,
        units=options.units,
        name=options.name,
        expires=_expiry(options, now),
        allowance=Allowance(options.allowance, price, options.period_days * DAY),
    )
    print(f"{number}  {secret}")
    return 0


def _list(ledger: Ledger, _: argparse.Namespace) -> int:
    now = int(time.time())
    print("account  balance  allowed  state  name")
    for each in all_accounts(ledger, now):
        shown = (each.number, each.balance, each.allowance_left, _state(each, now), each.name)
        print("  ".join(map(str, shown)))
    return 0


def _show(ledger: Ledger, options: argparse.Namespace) -> int:
    print("entry  when  kind  amount  allowed  tokens  balance")
    for line in last_lines(ledger, options.account, SHOWN_LINES):
        entry = line.entry
        when = datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        amounts = (entry.amount, entry.allowed, line.tokens, entry.balance)
        print("  ".join(map(str, (entry.number, when, entry.kind, *amounts))))
    return 0


def _credit(ledger: Ledger, options: argparse.Namespace) -> int:
    arguments = (options.account, options.units, BY_HAND, options.reference, time.time())
    print("credited" if ledger.credit(*arguments) else "credited before, and not again")
    return 0


def _disable(ledger: Ledger, options: argparse.Namespace) -> int:
    disable(ledger, options.account, disabled=True)
    return 0


def _enable(ledger: Ledger, options: argparse.Namespace) -> int:
    disable(ledger, options.account, disabled=False)
    return 0


def _check(ledger: Ledger, _: argparse.Namespace) -> int:
    wrong = discrepancies(ledger)
    for number in wrong:
        print(f"account {number}: the balance is not the sum of its entries")
    return 1 if wrong else 0


def _with_ledger(command: Callable[[Ledger, argparse.Namespace], int]) -> dict[str, Run]:
    """Return what has argparse run a command on the ledger of the settings."""

    def run(settings: Settings, options: argparse.Namespace) -> int:
        with upgraded_ledger(settings) as ledger:
            return command(ledger, options)

    return {"run": run}


def _expiry(options: argparse.Namespace, now: int) -> int | None:
    return None if options.days is None else now + options.days * DAY


def _state(account: Account, now: int) -> str:
    if account.disabled:
        return "disabled"
    return "expired" if account.expires is not None and account.expires <= now else "open"

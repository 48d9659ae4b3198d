"""`token-issuer keys`: making keys for epochs to come, listing them, destroying those of before."""

import argparse
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from protocol.errors import MalformedMessage
from protocol.token_catalogue import CatalogueKey
from protocol.token_prices import PricePoint
from token_issuer.administration import buyers, issued_by_key
from token_issuer.key_files import (
    StoredKey,
    destroy_private,
    make_receipt_key,
    read_keys,
    write_key,
)
from token_issuer.key_plan import ISSUE_DAYS, gateway_tables, new_keys, next_epochs, next_start
from token_issuer.settings import Settings
from token_issuer.upgrade import upgraded_ledger

GRACE_SECONDS = 86_400
"""For which a key is kept after its time: whoever paid and got no answer can still ask again."""


def add_parser(commands: Any) -> None:
    """Add the command and what it takes."""
    parser = commands.add_parser("keys", help="issuing keys")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make keys for further epochs")
    new.add_argument("--epochs", type=int, default=3, help="how many (default 3)")
    new.add_argument("--prices", type=prices, default="c1,c4,c16,c64", help="default c1,c4,c16,c64")
    new.add_argument(
        "--days", type=int, default=ISSUE_DAYS, help=f"for which one signs (default {ISSUE_DAYS})"
    )
    new.add_argument("--start", type=day, help="YYYY-MM-DD; default: where the last epoch ends")
    new.set_defaults(run=make)
    listing = actions.add_parser("list", help="list keys, and how many tokens of each were sold")
    listing.add_argument("--gateway", action="store_true", help="as a gateway's configuration")
    listing.set_defaults(run=show)
    actions.add_parser("retire", help="destroy those that have signed their last").set_defaults(
        run=retire
    )
    bought = actions.add_parser("buyers", help="list who bought tokens of a key that leaked")
    bought.add_argument("key_id", help="as `keys list` prints it")
    bought.set_defaults(run=show_buyers)


def prices(text: str) -> Sequence[PricePoint]:
    """Return the price points in a list with commas; argparse tells what is wrong otherwise."""
    try:
        return [PricePoint.decode(name) for name in text.split(",")]
    except MalformedMessage as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def day(text: str) -> int:
    """Return when a day begins, in Unix seconds."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: no day as YYYY-MM-DD") from None


def make(settings: Settings, options: argparse.Namespace) -> int:
    """Make keys, and print what a gateway has to be told."""
    now = int(time.time())
    stored = _stored(settings)
    known, signing = (
        _redeemable(stored, now),
        [each.entry for each in stored if not each.is_retired],
    )
    start = next_start(known, now) if options.start is None else options.start
    epochs = list(next_epochs(options.epochs, start, options.days))
    made = new_keys(known, epochs, options.prices, signing=signing)
    for each in made:
        write_key(settings.keys, each.entry, each.private)
    make_receipt_key(settings.keys)
    print(gateway_tables([*known, *(each.entry for each in made)]), end="")
    return 0


def show(settings: Settings, options: argparse.Namespace) -> int:
    """Print the keys."""
    now = int(time.time())
    stored = read_keys(settings.keys)
    if options.gateway:
        print(gateway_tables(_redeemable(stored, now)), end="")
        return 0
    with upgraded_ledger(settings) as ledger:
        counts = issued_by_key(ledger)
    print("key_id  price  signs from  until  redeemed until  sold  state")
    for each in stored:
        entry = each.entry
        times = (entry.epoch.issue_from, entry.epoch.issue_until, entry.epoch.redeem_until)
        sold = counts.get(entry.key.key_id.hex(), 0)
        shown = [entry.key.key_id.hex(), str(entry.price), *map(_day, times), str(sold)]
        print("  ".join([*shown, _state(each, now)]))
    return 0


def retire(settings: Settings, _: argparse.Namespace) -> int:
    """Destroy the private halves of keys whose time to sign is over."""
    now = int(time.time())
    for each in read_keys(settings.keys):
        if not each.is_retired and each.entry.epoch.issue_until + GRACE_SECONDS <= now:
            destroy_private(each)
            print(f"destroyed {each.entry.key.key_id.hex()} ({each.entry.price})")
    return 0


def show_buyers(settings: Settings, options: argparse.Namespace) -> int:
    """Print the accounts that bought tokens of a key, and how many."""
    with upgraded_ledger(settings) as ledger:
        found = buyers(ledger, options.key_id.lower())
    for account, count in found.items():
        print(f"{account}  {count}")
    return 0


def _stored(settings: Settings) -> list[StoredKey]:
    return read_keys(settings.keys) if settings.keys.is_dir() else []


def _redeemable(stored: Sequence[StoredKey], now: int) -> list[CatalogueKey]:
    return [each.entry for each in stored if each.entry.epoch.redeem_until > now]


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _state(stored: StoredKey, now: int) -> str:
    if stored.is_retired:
        return "retired"
    if now < stored.entry.epoch.issue_from:
        return "waits"
    return "signs" if stored.entry.epoch.issues(now) else "over"

"""What `oblivious-client tokens` does: buy, list, check, export and import."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from oblivious_client import release_settings, settings, token_report
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import ClientError, IssuerRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.hand_over import export, import_from
from oblivious_client.issuance import Bought, Buyer
from oblivious_client.issuer import Issuer
from oblivious_client.purchases import Purchases
from oblivious_client.route import price_point
from oblivious_client.terminal import print_json
from oblivious_client.wallet import Wallet
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint

Chosen = argparse.Namespace

MAX_SECRET = 1024

SMALL_CROWD = 50
"""Below which so few tokens share a key that a buyer is warned."""


def buy(chosen: Chosen) -> Exit:
    """Buy a pack for the gateway of a route, now."""
    buyer = buyer_of(chosen)
    catalogue = _catalogue(chosen)
    price = _price(chosen, catalogue)
    lost = buyer.resume(only=(price, chosen.count))
    for bought in lost:
        _note(_told(bought))
    if lost:
        _note("that purchase had been interrupted: to buy more, ask again")
        _warn(buyer.wallet)
        return Exit.OK
    _note(f"buying from {catalogue.issuer}, now: it sees your account, this machine and the time")
    bought = buyer.buy(catalogue, price, chosen.count)
    _note(_told(bought))
    _warn_of_crowd(bought)
    _warn(buyer.wallet)
    return Exit.OK


def show(chosen: Chosen) -> Exit:
    """List what is in the wallet; nothing is sent."""
    wallet = settings.wallet(chosen)
    piles, open_ = (wallet.piles(), Purchases(wallet).open()) if wallet.file.exists else ([], [])
    now = wallet.clock()
    if chosen.json:
        print_json(token_report.as_json(piles, open_, now=now))
    else:
        print(token_report.as_text(piles, open_, now=now, check=wallet.command("check")))
    _warn(wallet)
    return Exit.OK


def check(chosen: Chosen) -> Exit:
    """Finish lost purchases, take back what was held, and tell what was refused."""
    wallet = settings.wallet(chosen)
    if not wallet.file.exists:
        _note("there is no wallet yet")
        return Exit.OK
    wallet.recover()
    failure = _finish_purchases(chosen, wallet)
    for line in token_report.findings(wallet.piles(), wallet.refusals()):
        print(line)
    _warn(wallet)
    if failure is not None:
        raise failure
    return Exit.OK


def move_out(chosen: Chosen) -> Exit:
    """Move tokens into a file."""
    wallet = settings.wallet(chosen)
    count = export(wallet, chosen.file, price_point(chosen.price), chosen.count, chosen.origin)
    _note(f"{count} tokens are in {chosen.file} and no longer here: whoever has it can spend them")
    return Exit.OK


def move_in(chosen: Chosen) -> Exit:
    """Take the tokens of a file."""
    new, known = import_from(settings.wallet(chosen), chosen.file)
    _note(f"{new} tokens are new" + (f", {known} were there already" if known else ""))
    _note(f"delete {chosen.file}: whoever has it can spend them too")
    return Exit.OK


ACTIONS: Mapping[str, Callable[[Chosen], Exit]] = {
    "buy": buy,
    "list": show,
    "check": check,
    "export": move_out,
    "import": move_in,
}


def tokens(chosen: Chosen) -> Exit:
    """Do one of the actions."""
    return ACTIONS[chosen.action](chosen)


def buyer_of(chosen: Chosen) -> Buyer:
    """Return who buys by the options; raises UsageError without a voucher."""
    secret = read_secret(chosen.voucher)
    if secret is None:
        raise UsageError(
            "there is no voucher to pay with",
            advice="name a file that holds it with --voucher FILE, or set OBLIVIOUS_ISSUER_KEY",
        )
    proxy = chosen.issuer_proxy
    return Buyer(settings.wallet(chosen), secret, lambda url: Issuer(url, proxy=proxy))


def read_secret(place: str | None) -> str | None:
    """Return the secret of an account: of a file, of standard input, or of the environment."""
    if place is None:
        text = os.environ.get("OBLIVIOUS_ISSUER_KEY", "")
    elif place == "-":
        text = "" if sys.stdin is None else sys.stdin.read(MAX_SECRET + 1)
    else:
        try:
            with Path(place).open(encoding="utf-8", errors="replace") as file:
                text = file.read(MAX_SECRET + 1)
        except OSError as error:
            raise UsageError(f"cannot read {place}: {error.strerror}") from error
    secret = text.strip()
    if secret and (len(text) > MAX_SECRET or not all("!" <= each <= "~" for each in secret)):
        raise UsageError(
            "what is given as a voucher is none",
            advice="it is one line such as OBL-…, and nothing beside it",
        )
    return secret or None


def _catalogue(chosen: Chosen) -> Catalogue:
    route = settings.route(chosen, releases=release_settings.releases(chosen))
    with ObliviousClient(route) as client:
        catalogue = client.evidence().catalogue
    if catalogue is None:
        raise UsageError("this gateway takes no tokens: it costs nothing to ask it")
    return catalogue


def _price(chosen: Chosen, catalogue: Catalogue) -> PricePoint:
    if chosen.price is None:
        return min(key.price for key in catalogue.keys)
    return price_point(chosen.price)


def _finish_purchases(chosen: Chosen, wallet: Wallet) -> ClientError | None:
    """Ask again for what was paid for; return what went wrong, once the rest has been told."""
    if not Purchases(wallet).open():
        return None
    try:
        buyer = buyer_of(chosen)
        for bought in buyer.resume():
            print(_told(bought))
    except ClientError as error:
        return error
    others = [each for each in Purchases(wallet).open() if each.account != buyer.account]
    if others:
        return IssuerRefused(
            f"{len(others)} purchases were begun with another voucher",
            advice="check again with that one: they were perhaps paid for",
        )
    return None


def _told(bought: Bought) -> str:
    begun = "finished a purchase that was interrupted: " if bought.was_lost else "bought "
    told = f"{begun}{bought.count} tokens of {bought.price}"
    if bought.missing:
        told += f"; the issuer gave none for {bought.missing} more"
    return told + ("" if bought.has_receipt else " (without a receipt that verifies)")


def _warn_of_crowd(bought: Bought) -> None:
    if bought.crowd is not None and bought.crowd < SMALL_CROWD:
        _note(
            f"warning: before this hour fewer than {SMALL_CROWD} tokens of {bought.price} were "
            "sold in this epoch: few people come into question; wait before you spend them"
        )


def _warn(wallet: Wallet) -> None:
    if wallet.file.is_open_to_others:
        path = wallet.file.path
        _note(f"warning: other users of this machine can open {path}: chmod 600 it")


def _note(text: str) -> None:
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr)

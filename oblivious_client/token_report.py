"""What is in a wallet, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from oblivious_client.errors import CHECK
from oblivious_client.purchases import Purchase
from oblivious_client.report import moment
from oblivious_client.wallet import Pile, Refusals

WARNED_SECONDS = 7 * 86400
"""Before the end of tokens, from when on a list says so."""

_HEAD = ("price", "ready", "aside", "in use", "unknown", "ends", "for")


def as_json(piles: Sequence[Pile], purchases: Sequence[Purchase], *, now: float) -> dict[str, Any]:
    """Return the report for programs; times are in Unix seconds."""
    return {
        "tokens": [
            {
                "price": str(pile.price),
                "issuer": pile.issuer,
                "origin": pile.origin,
                "ends": pile.redeem_until,
                "has_ended": pile.redeem_until <= now,
                "ready": pile.ready,
                "aside": pile.aside,
                "held": pile.held,
                "unknown": pile.unknown,
            }
            for pile in piles
        ],
        "purchases": [
            {
                "price": str(purchase.source.key.price),
                "issuer": purchase.source.issuer,
                "count": len(purchase.pending),
                "begun": purchase.begun,
            }
            for purchase in purchases
        ],
    }


def as_text(
    piles: Sequence[Pile], purchases: Sequence[Purchase], *, now: float, check: str = CHECK
) -> str:
    """Return the report for people: a table, and below it what there is to do.

    `check` is the command that looks after what was not finished.
    """
    if not piles and not purchases:
        return "the wallet is empty"
    rows = [_HEAD, *(_row(pile) for pile in piles)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows] if piles else []
    return "\n".join([*lines, *_remarks(piles, purchases, now, check)])


def findings(piles: Iterable[Pile], refusals: Iterable[Refusals]) -> Iterator[str]:
    """Yield what a check of a wallet found, a sentence a line."""
    usable = sum(pile.usable for pile in piles)
    yield f"{usable} tokens can be spent"
    unknown = sum(pile.unknown for pile in piles)
    if unknown:
        yield f"{unknown} went with questions that got no answer: usable again an hour after those"
    for refused in refusals:
        yield (
            f"{refused.count} of {refused.price} were refused ({refused.code}) that had never left "
            "this wallet: was its file copied? Else the service's operator denied them"
        )


def _row(pile: Pile) -> tuple[str, ...]:
    counts = (pile.ready, pile.aside, pile.held, pile.unknown)
    return (str(pile.price), *map(str, counts), moment(pile.redeem_until), pile.origin)


def _remarks(
    piles: Iterable[Pile], purchases: Iterable[Purchase], now: float, check: str
) -> Iterator[str]:
    for pile in piles:
        count = pile.usable + pile.unknown + pile.held
        if pile.redeem_until <= now:
            yield f"{count} of {pile.price} have ended"
        elif pile.redeem_until <= now + WARNED_SECONDS:
            days = max(1, round((pile.redeem_until - now) / 86400))
            yield f"{count} of {pile.price} end within {days} days"
    for purchase in purchases:
        count, price = len(purchase.pending), purchase.source.key.price
        yield f"{count} of {price} were asked for and did not come: `{check}`"

"""What `GET /account` tells the owner of an account."""

from typing import Any

from token_issuer.accounts import Account
from token_issuer.administration import Line, last_lines
from token_issuer.key_ring import KeyRing
from token_issuer.ledger import Ledger

LINES = 20


def statement(ledger: Ledger, account: Account, ring: KeyRing, now: float) -> dict[str, Any]:
    """Return the members of the answer: amounts in units, times in Unix seconds."""
    prices = {key.entry.price for key in ring.keys if key.issues(now)}
    return {
        "account": account.number,
        "balance": account.balance,
        "allowance": _allowance(account),
        "expires": account.expires,
        "prices": {str(price): price.units for price in sorted(prices)},
        "entries": [_line(line) for line in last_lines(ledger, account.number, LINES)],
    }


def _allowance(account: Account) -> dict[str, int | str] | None:
    allowance = account.allowance
    if not allowance.units:
        return None
    return {
        "units": allowance.units,
        "left": account.allowance_left,
        "price": f"c{allowance.price}",
        "period_seconds": allowance.period_seconds,
    }


def _line(line: Line) -> dict[str, int | str]:
    entry = line.entry
    return {
        "ledger_entry": entry.number,
        "at": entry.at,
        "kind": entry.kind,
        "amount": entry.amount,
        "allowed": entry.allowed,
        "balance": entry.balance,
        "tokens": line.tokens,
    }

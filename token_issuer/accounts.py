"""Accounts as rows of the ledger: who may spend, and what is left of an allowance."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, or_

from token_issuer.schema import accounts


@dataclass(frozen=True, slots=True)
class Allowance:
    """What an account may have for nothing: `units` of one price point in each period."""

    units: int = 0
    price: int = 1
    period_seconds: int = 86_400

    def __post_init__(self) -> None:
        if not 0 <= self.units < 1 << 53 or self.period_seconds < 1 or self.price < 1:
            raise ValueError("an allowance is of units that are not negative, in a period of time")


@dataclass(frozen=True, slots=True)
class Account:
    """An account at one time; amounts are units, times Unix seconds."""

    number: int
    name: str
    balance: int
    disabled: bool
    expires: int | None
    allowance: Allowance
    allowance_left: int
    burst: float
    burst_at: float


def read_account(row: Row[Any], now: int) -> Account:
    """Return the account that a row is at `now`."""
    allowance = Allowance(row.allowance, row.allowance_price, row.period_seconds)
    used = row.period_used if row.period == period(allowance, now) else 0
    return Account(
        number=row.id,
        name=row.name,
        balance=row.balance,
        disabled=row.disabled,
        expires=row.expires,
        allowance=allowance,
        allowance_left=max(0, allowance.units - used),
        burst=row.burst,
        burst_at=row.burst_at,
    )


def period(allowance: Allowance, now: int) -> int:
    """Return the number of the period that `now` is in."""
    return now // allowance.period_seconds


def is_active(now: int) -> ColumnElement[bool]:
    """Return the condition of an account that may spend at `now`."""
    never = accounts.c.expires.is_(None)
    return and_(~accounts.c.disabled, or_(never, accounts.c.expires > now))

"""What an operator does with accounts, and what the ledger tells of all of them together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, update

from token_issuer.account_secret import new_secret, secret_digest
from token_issuer.accounts import Account, Allowance, read_account
from token_issuer.intent import UNDECIDED
from token_issuer.ledger import Entry, Ledger, UnknownAccount
from token_issuer.schema import accounts, entries, intents, issued

OPENING = "voucher"
"""The kind of the entry of what an account was opened with."""


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, with the tokens that it was for."""

    entry: Entry
    tokens: int


def open_account(
    ledger: Ledger,
    now: int,
    *,
    units: int = 0,
    name: str = "",
    expires: int | None = None,
    allowance: Allowance | None = None,
) -> tuple[int, str]:
    """Open an account; return its number, and its secret, which is kept nowhere."""
    secret = new_secret()
    with ledger.engine.begin() as connection:
        number = add_account(
            connection, secret_digest(secret), now, name=name, expires=expires, allowance=allowance
        )
    if units:
        ledger.credit(number, units, OPENING, str(number), now)
    return number, secret


def add_account(
    connection: Connection,
    digest: bytes,
    now: int,
    *,
    name: str = "",
    expires: int | None = None,
    allowance: Allowance | None = None,
) -> int:
    """Add an account without a balance, whose secret has a digest; return its number.

    IntegrityError if there is one with that secret.
    """
    free = allowance or Allowance()
    values = {
        "secret_hash": digest,
        "name": name,
        "created": now,
        "balance": 0,
        "disabled": False,
        "expires": expires,
        "allowance": free.units,
        "allowance_price": free.price,
        "period_seconds": free.period_seconds,
        "period": 0,
        "period_used": 0,
        # As full as it gets by itself: it has been at rest for ever.
        "burst": 0.0,
        "burst_at": 0.0,
    }
    number: int = connection.execute(
        insert(accounts).values(values).returning(accounts.c.id)
    ).scalar_one()
    return number


def all_accounts(ledger: Ledger, now: int) -> list[Account]:
    """Return every account, in the order in which they were opened."""
    with ledger.reading() as connection:
        rows = connection.execute(select(accounts).order_by(accounts.c.id)).all()
    return [read_account(row, now) for row in rows]


def disable(ledger: Ledger, number: int, *, disabled: bool) -> None:
    """Have an account spend no more, or again; UnknownAccount if there is none."""
    query = update(accounts).where(accounts.c.id == number).values(disabled=disabled)
    with ledger.engine.begin() as connection:
        if connection.execute(query).rowcount != 1:
            raise UnknownAccount


def last_lines(ledger: Ledger, number: int, count: int) -> list[Line]:
    """Return the last entries of an account, newest first."""
    query = _lines().where(entries.c.account == number)
    query = query.order_by(entries.c.id.desc()).limit(count)
    with ledger.reading() as connection:
        rows = connection.execute(query).all()
    return [
        Line(Entry(row.id, row.at, row.kind, row.amount, row.allowed, row.balance), row.tokens_sum)
        for row in rows
    ]


def buyers(ledger: Ledger, key_id: str) -> Mapping[int, int]:
    """Return how many tokens of a key each account bought, by their numbers."""
    query = (
        select(entries.c.account, func.sum(issued.c.tokens))
        .join(entries, entries.c.id == issued.c.entry)
        .where(issued.c.key_id == key_id)
        .group_by(entries.c.account)
        .order_by(entries.c.account)
    )
    with ledger.reading() as connection:
        return {number: int(count) for number, count in connection.execute(query)}


def issued_by_key(ledger: Ledger, before: int | None = None) -> Mapping[str, int]:
    """Return how many tokens each key signed, by hexadecimal identifiers: the size of its crowd.

    Those that were bought `before` a time in Unix seconds, if there is one.
    """
    query = select(issued.c.key_id, func.sum(issued.c.tokens)).group_by(issued.c.key_id)
    if before is not None:
        query = query.join(entries, entries.c.id == issued.c.entry).where(entries.c.at < before)
    with ledger.reading() as connection:
        return {key_id: int(count) for key_id, count in connection.execute(query)}


def outstanding(ledger: Ledger) -> int:
    """Return all balances together, in units."""
    with ledger.reading() as connection:
        total = connection.execute(select(func.sum(accounts.c.balance))).scalar_one()
    return int(total or 0)


def undecided_payments(ledger: Ledger) -> int:
    """Return how many payments were presented of which it is not known whether they were made."""
    query = select(func.count()).where(intents.c.state.in_(UNDECIDED))
    with ledger.reading() as connection:
        return int(connection.execute(query).scalar_one())


def discrepancies(ledger: Ledger) -> Sequence[int]:
    """Return the accounts whose balance is not the sum of their entries; there should be none."""
    total = func.coalesce(func.sum(entries.c.amount), 0)
    query = (
        select(accounts.c.id)
        .outerjoin(entries, entries.c.account == accounts.c.id)
        .group_by(accounts.c.id, accounts.c.balance)
        .having(accounts.c.balance != total)
        .order_by(accounts.c.id)
    )
    with ledger.reading() as connection:
        return [number for (number,) in connection.execute(query)]


def _lines() -> Select[Any]:
    tokens = func.coalesce(func.sum(issued.c.tokens), 0).label("tokens_sum")
    joined = entries.outerjoin(issued, issued.c.entry == entries.c.id)
    return select(*entries.c, tokens).select_from(joined).group_by(*entries.c)

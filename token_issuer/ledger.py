"""The ledger: the only two ways in which a balance changes.

`purchase` takes units, `credit` adds them. Each is one transaction that locks the account first
(SQLite locks the whole file), so that no two read the same balance; each leaves an entry whose
reference is unique, so that the same request or payment counts once, however often it comes. A
purchase that was made before is found by its reference and costs nothing: signatures of the same
request are the same, so that there is no answer to keep.
"""

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, insert, select, update
from sqlalchemy.exc import IntegrityError

from token_issuer.accounts import Account, is_active, period, read_account
from token_issuer.database import READ_ONLY
from token_issuer.schema import TOKENS, accounts, entries, issued

MAX_AMOUNT = (1 << 53) - 1
"""Of a balance: the largest integer that every reader of JSON keeps."""


class PurchaseRefused(Exception):
    """A purchase that changed nothing."""


class UnknownAccount(PurchaseRefused):
    """The account is not there, disabled, or expired."""


class NotIssuing(PurchaseRefused):
    """A key that is wanted signs nothing new at this time."""


class InsufficientBalance(PurchaseRefused):
    """The account has less than the price; both in units."""

    def __init__(self, balance: int, price: int) -> None:
        """`price` is what the balance would have to give, without what is allowed for nothing."""
        super().__init__("the balance is less than the price")
        self.balance = balance
        self.price = price


class TooFast(PurchaseRefused):
    """The account has had as much signed lately as it may."""

    def __init__(self, seconds: int) -> None:
        """`seconds` until it may have this signed."""
        super().__init__("too much was signed lately")
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class Purchase:
    """What an account is to pay for."""

    reference: str
    price: int
    tokens: Mapping[str, int]
    """How many, by the hexadecimal identifiers of their keys."""
    only_price_point: int | None
    """What each token costs, if that is the same for all: an allowance is of one price point."""
    is_issuing: bool
    """Whether the keys sign what is newly bought; what was paid for before, they sign longer."""

    @property
    def count(self) -> int:
        """How many tokens it is."""
        return sum(self.tokens.values())


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the ledger: by what a balance changed, when, and to what."""

    number: int
    at: int
    kind: str
    amount: int
    allowed: int
    """What came out of the allowance beside it."""
    balance: int

    @property
    def paid(self) -> int:
        """What a purchase took, out of balance and allowance together."""
        return self.allowed - self.amount


class Ledger:
    """Purchases and credits on one database."""

    def __init__(self, engine: Engine, tokens_per_minute: int) -> None:
        """`tokens_per_minute` is what one account may have signed, and how many at once."""
        self.engine = engine
        self._per_minute = tokens_per_minute

    def find(self, secret_digest: bytes, now: int) -> Account | None:
        """Return the account that may spend with a secret; the same work whether there is one."""
        query = select(accounts).where(accounts.c.secret_hash == secret_digest, is_active(now))
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else read_account(row, now)

    def knows(self, secret_digest: bytes) -> bool:
        """Tell whether there is an account with a secret, which need not be able to spend."""
        query = select(accounts.c.id).where(accounts.c.secret_hash == secret_digest)
        with self.reading() as connection:
            return connection.execute(query).first() is not None

    def purchase(self, number: int, purchase: Purchase, now: float) -> Entry:
        """Take the price, once for each reference, and return the entry; else PurchaseRefused."""
        with self.engine.begin() as connection:
            query = _locked(number).where(is_active(int(now)))
            row = connection.execute(query).one_or_none()
            if row is None:
                raise UnknownAccount
            account = read_account(row, int(now))
            burst = self._burst_after(account, purchase.count, now)
            _set(connection, number, burst=burst, burst_at=now)
            query = _payment(TOKENS, purchase.reference).where(entries.c.account == number)
            made = connection.execute(query).one_or_none()
            if made is not None:
                return _read_entry(made)
            return _debit(connection, account, purchase, int(now))

    def credit(self, number: int, amount: int, kind: str, reference: str, now: float) -> bool:
        """Add to a balance; False for a payment that counted before, UnknownAccount for no account.

        The one door for all money: vouchers, administrators, providers of payments. `kind` says
        whose reference it is; one of a kind counts once, whichever account it names. An account
        that is disabled or expired is credited as well: what was paid is its owner's.
        """
        try:
            with self.engine.begin() as connection:
                return credit(connection, number, amount, kind, reference, now)
        except IntegrityError:
            return False  # meanwhile it was counted, for another account

    def reading(self) -> AbstractContextManager[Connection]:
        """Return a transaction that waits for no writer."""
        return self.engine.execution_options(**{READ_ONLY: True}).begin()

    def _burst_after(self, account: Account, count: int, now: float) -> float:
        """Return how many tokens may be signed at once after these; TooFast for fewer than none."""
        rate = self._per_minute / 60
        refilled = account.burst + max(0.0, now - account.burst_at) * rate
        left = min(float(self._per_minute), refilled) - min(count, self._per_minute)
        if left < 0:
            raise TooFast(math.ceil(-left / rate))
        return left


def _debit(connection: Connection, account: Account, purchase: Purchase, now: int) -> Entry:
    """Take the price out of the allowance and then the balance."""
    if not purchase.is_issuing:
        raise NotIssuing
    allowance = account.allowance
    is_allowed = purchase.only_price_point == allowance.price
    allowed = min(purchase.price, account.allowance_left) if is_allowed else 0
    charge = purchase.price - allowed
    if charge > account.balance:
        raise InsufficientBalance(account.balance, charge)
    if allowed:
        used = allowance.units - account.allowance_left + allowed
        _set(connection, account.number, period=period(allowance, now), period_used=used)
    entry = Entry(0, now, TOKENS, -charge, allowed, account.balance - charge)
    entry = _append(connection, account.number, entry, purchase.reference)
    lines = [
        {"entry": entry.number, "key_id": key_id, "tokens": count}
        for key_id, count in purchase.tokens.items()
    ]
    connection.execute(insert(issued), lines)
    return entry


def credit(
    connection: Connection, number: int, amount: int, kind: str, reference: str, now: float
) -> bool:
    """Do what `Ledger.credit` does, within a transaction that changes something else as well.

    IntegrityError if a payment counts meanwhile for another account.
    """
    if kind == TOKENS or not 0 < amount <= MAX_AMOUNT:
        raise ValueError(f"a credit is of 1 to {MAX_AMOUNT} units")
    row = connection.execute(_locked(number)).one_or_none()
    if row is None:
        raise UnknownAccount
    if connection.execute(_payment(kind, reference)).first() is not None:
        return False
    balance = row.balance + amount
    if balance > MAX_AMOUNT:
        raise ValueError(f"a balance is of at most {MAX_AMOUNT} units")
    _append(connection, number, Entry(0, int(now), kind, amount, 0, balance), reference)
    return True


def _append(connection: Connection, account: int, entry: Entry, reference: str) -> Entry:
    """Set the balance to what the entry says, and return the entry with its number."""
    values = {
        "account": account,
        "at": entry.at,
        "kind": entry.kind,
        "amount": entry.amount,
        "allowed": entry.allowed,
        "balance": entry.balance,
        "reference": reference,
    }
    _set(connection, account, balance=entry.balance)
    written = connection.execute(insert(entries).values(values).returning(*entries.c)).one()
    return _read_entry(written)


def _read_entry(row: Row[Any]) -> Entry:
    return Entry(row.id, row.at, row.kind, row.amount, row.allowed, row.balance)


def _locked(account: int) -> Select[Any]:
    return select(accounts).where(accounts.c.id == account).with_for_update()


def _payment(kind: str, reference: str) -> Select[Any]:
    return select(entries).where(entries.c.kind == kind, entries.c.reference == reference)


def _set(connection: Connection, account: int, **values: float) -> None:
    connection.execute(update(accounts).where(accounts.c.id == account).values(**values))

"""Payments that somebody presented, until it is decided whether they were made.

A payment is named after what the chain takes once, and is bound to the account of whoever presents
it first. One process at a time is at it, for a while. That it is sent to be settled is written
before it is; that it was paid is written in the transaction that credits it. So whatever ends in
between leaves an intent that says what is not known, which the next who asks takes up.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from token_issuer.administration import add_account
from token_issuer.intent import (
    CREDITED,
    CROWDED_SECONDS,
    HOLD_SECONDS,
    KIND,
    OPEN,
    REFUSED,
    UNCLEAR,
    UNDECIDED,
    Credited,
    Intent,
    Listed,
    NoIntent,
    Occupied,
    OtherAccount,
    OverFull,
    Unclear,
    new_holder,
)
from token_issuer.ledger import MAX_AMOUNT, Ledger, credit
from token_issuer.schema import accounts, intents

_COUNTING = 0x78343032
"""The lock of who counts what is held, until the transaction ends; PostgreSQL has it by number."""


class Intents:
    """Intents of one ledger."""

    def __init__(self, ledger: Ledger, at_once: int) -> None:
        """`at_once` is how many may be held, by all processes together."""
        self._engine = ledger.engine
        self._ledger = ledger
        self._at_once = at_once

    def present(self, intent: Intent, now: float) -> Intent | Credited:
        """Hold what is presented, as it is known; or return what came of it before.

        OtherAccount, Occupied and Unclear as they say; OverFull for more than a balance holds.
        """
        try:
            with self._engine.begin() as connection:
                return self._present(connection, intent, now)
        except IntegrityError:
            raise Occupied(HOLD_SECONDS) from None  # the same was presented in this moment

    def resume(self, reference: str, now: float) -> Intent:
        """Hold an open intent that nobody holds; Occupied, Unclear or NoIntent otherwise."""
        with self._engine.begin() as connection:
            row = connection.execute(_locked(reference)).one_or_none()
            if row is None or row.state not in UNDECIDED:
                raise NoIntent
            return self._take(connection, row, new_holder(), now)

    def undecided(self, secret_hash: bytes) -> str | None:
        """Return the reference of a payment of an account that is not decided, if there is one."""
        query = select(intents.c.reference).where(
            intents.c.secret_hash == secret_hash, intents.c.state.in_(UNDECIDED)
        )
        with self._ledger.reading() as connection:
            return connection.execute(query.limit(1)).scalar_one_or_none()

    def abandoned(self, now: float) -> Sequence[str]:
        """Return the references of those that are open and that nobody holds."""
        query = select(intents.c.reference).where(
            intents.c.state == OPEN, intents.c.held_until <= now
        )
        with self._ledger.reading() as connection:
            return connection.execute(query.order_by(intents.c.at)).scalars().all()

    def listed(self) -> Sequence[Listed]:
        """Return all, oldest first."""
        with self._ledger.reading() as connection:
            rows = connection.execute(select(intents).order_by(intents.c.at)).all()
        return [
            Listed(
                row.reference,
                row.state,
                row.in_doubt,
                row.units,
                row.at,
                row.ends,
                row.settlement,
            )
            for row in rows
        ]

    def send(self, intent: Intent) -> None:
        """Write that it is sent to be settled, before it is; Occupied for who holds it no more."""
        self._change(intent, in_doubt=True)

    def forget(self, intent: Intent) -> None:
        """Forget what was never sent: nothing can have been paid."""
        query = delete(intents).where(*_held(intent), ~intents.c.in_doubt)
        with self._engine.begin() as connection:
            connection.execute(query)

    def refuse(self, intent: Intent) -> None:
        """Write that it was not paid, for certain: it may be presented again, and tried anew."""
        self._change(intent, state=REFUSED, in_doubt=False, held_until=0.0, document="", terms="")

    def doubt(self, intent: Intent) -> None:
        """Write that a person has to look whether it was paid."""
        self._change(intent, state=UNCLEAR, held_until=0.0)

    def release(self, intent: Intent) -> None:
        """Leave it for the next who asks."""
        self._change(intent, held_until=0.0)

    def credit(self, reference: str, transaction: str, now: float) -> Credited:
        """Credit what was paid, once, whoever holds it; NoIntent if there is none.

        The account is opened here if there is none of its secret yet.
        """
        for _ in range(2):
            try:
                with self._engine.begin() as connection:
                    return _credit(connection, reference, transaction, now)
            except IntegrityError:
                continue  # the account was opened in this moment
        raise Occupied(HOLD_SECONDS)

    def give_up(self, reference: str, now: float) -> None:
        """Decide, for the operator who has looked, that it was not paid; NoIntent, Occupied."""
        with self._engine.begin() as connection:
            row = connection.execute(_locked(reference)).one_or_none()
            if row is None or row.state not in UNDECIDED:
                raise NoIntent
            _check_free(row, now)
            values = {"state": REFUSED, "in_doubt": False, "document": "", "terms": ""}
            connection.execute(
                update(intents).where(intents.c.reference == reference).values(values)
            )

    def _present(self, connection: Connection, intent: Intent, now: float) -> Intent | Credited:
        row = connection.execute(_locked(intent.reference)).one_or_none()
        if row is None:
            self._check_room(connection, intent, now)
            values = {
                **_presented(intent, now),
                "reference": intent.reference,
                "secret_hash": intent.secret_hash,
                "in_doubt": False,
                "settlement": "",
            }
            connection.execute(insert(intents).values(values))
            return intent
        if row.secret_hash != intent.secret_hash:
            raise OtherAccount
        if row.state == CREDITED:
            return _credited(connection, row)
        if row.state == REFUSED:
            self._check_room(connection, intent, now)
            connection.execute(
                update(intents)
                .where(intents.c.reference == intent.reference)
                .values(_presented(intent, now))
            )
            return replace(intent, was_refused=True)
        return self._take(connection, row, intent.holder, now)

    def _take(self, connection: Connection, row: Row[Any], holder: str, now: float) -> Intent:
        if row.state == UNCLEAR:
            raise Unclear
        _check_free(row, now)
        self._check_count(connection, now)
        connection.execute(
            update(intents)
            .where(intents.c.reference == row.reference)
            .values(holder=holder, held_until=now + HOLD_SECONDS)
        )
        return Intent(
            row.reference,
            row.secret_hash,
            row.units,
            row.ends,
            row.in_doubt,
            holder,
            row.document,
            row.terms,
        )

    def _check_room(self, connection: Connection, intent: Intent, now: float) -> None:
        self._check_count(connection, now)
        query = select(accounts.c.balance).where(accounts.c.secret_hash == intent.secret_hash)
        balance = connection.execute(query).scalar_one_or_none() or 0
        if balance + intent.units > MAX_AMOUNT:
            raise OverFull

    def _check_count(self, connection: Connection, now: float) -> None:
        # Two who count at the same moment would both find room. SQLite lets one write at a time.
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(_COUNTING)))
        query = select(func.count()).where(intents.c.state == OPEN, intents.c.held_until > now)
        if connection.execute(query).scalar_one() >= self._at_once:
            raise Occupied(CROWDED_SECONDS)

    def _change(self, intent: Intent, **values: object) -> None:
        """Change what is held; Occupied if it is not held any more, or is decided."""
        query = update(intents).where(*_held(intent)).values(values)
        with self._engine.begin() as connection:
            if connection.execute(query).rowcount != 1:
                raise Occupied(HOLD_SECONDS)


def _presented(intent: Intent, now: float) -> dict[str, Any]:
    return {
        "units": intent.units,
        "at": int(now),
        "ends": intent.ends,
        "state": OPEN,
        "holder": intent.holder,
        "held_until": now + HOLD_SECONDS,
        "document": intent.document,
        "terms": intent.terms,
    }


def _held(intent: Intent) -> tuple[Any, ...]:
    return (
        intents.c.reference == intent.reference,
        intents.c.holder == intent.holder,
        intents.c.state == OPEN,
    )


def _locked(reference: str) -> Select[Any]:
    return select(intents).where(intents.c.reference == reference).with_for_update()


def _check_free(row: Row[Any], now: float) -> None:
    if row.held_until > now:
        raise Occupied(math.ceil(row.held_until - now))


def _credit(connection: Connection, reference: str, transaction: str, now: float) -> Credited:
    row = connection.execute(_locked(reference)).one_or_none()
    if row is None:
        raise NoIntent
    if row.state == CREDITED:
        return _credited(connection, row)
    query = select(accounts.c.id).where(accounts.c.secret_hash == row.secret_hash)
    number = connection.execute(query).scalar_one_or_none()
    if number is None:
        number = add_account(connection, row.secret_hash, int(now), name=KIND)
    credit(connection, number, row.units, KIND, reference, now)
    # What was signed is not kept: the transaction is enough to answer for it.
    values = {"state": CREDITED, "in_doubt": False, "document": "", "terms": ""}
    connection.execute(
        update(intents)
        .where(intents.c.reference == reference)
        .values(**values, settlement=transaction, held_until=0.0)
    )
    return Credited(number, row.units, transaction)


def _credited(connection: Connection, row: Row[Any]) -> Credited:
    query = select(accounts.c.id).where(accounts.c.secret_hash == row.secret_hash)
    return Credited(connection.execute(query).scalar_one(), row.units, row.settlement)

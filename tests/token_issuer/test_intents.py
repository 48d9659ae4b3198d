"""Intents on both databases: bound to an account, held by one, credited once."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from tests.support.postgresql import PostgreSql
from token_issuer import intents as module
from token_issuer.account_secret import secret_digest
from token_issuer.administration import add_account, discrepancies, open_account, outstanding
from token_issuer.database import open_database
from token_issuer.intent import (
    CROWDED_SECONDS,
    HOLD_SECONDS,
    Credited,
    Intent,
    NoIntent,
    Occupied,
    OtherAccount,
    OverFull,
    Unclear,
    new_intent,
)
from token_issuer.intents import Intents
from token_issuer.ledger import MAX_AMOUNT, Ledger
from token_issuer.upgrade import upgrade

NOW = 1_765_000_000.0
LATER = NOW + HOLD_SECONDS
HASH = b"1" * 32
TRANSACTION = "0x" + "7" * 64


def presented(reference: str = "a", secret_hash: bytes = HASH, units: int = 100) -> Intent:
    return new_intent(reference, secret_hash, units, int(NOW) + 300, "{1}", "{2}")


@pytest.fixture
def intents(ledger: Ledger) -> Intents:
    return Intents(ledger, 8)


def test_what_is_presented_is_held_and_nobody_else_gets_it(intents: Intents) -> None:
    first = presented()
    assert intents.present(first, NOW) == first
    with pytest.raises(Occupied) as occupied:
        intents.present(presented(), NOW + 0.5)
    assert occupied.value.seconds == HOLD_SECONDS
    with pytest.raises(Occupied):
        intents.resume("a", LATER - 0.1)
    with pytest.raises(OtherAccount):
        intents.present(presented(secret_hash=b"2" * 32), NOW)
    taken = intents.resume("a", LATER)
    assert taken == replace(first, holder=taken.holder)
    assert taken.holder != first.holder


def test_who_lost_a_hold_changes_nothing(intents: Intents) -> None:
    first = presented()
    intents.present(first, NOW)
    taken = intents.resume("a", LATER)
    for change in (intents.send, intents.refuse, intents.doubt, intents.release):
        with pytest.raises(Occupied):
            change(first)
    intents.forget(first)
    (left,) = intents.listed()
    assert (left.state, left.in_doubt) == ("open", False)
    intents.send(taken)
    (left,) = intents.listed()
    assert left.in_doubt


def test_what_was_sent_is_not_forgotten(intents: Intents) -> None:
    intent = presented()
    intents.present(intent, NOW)
    intents.send(intent)
    intents.forget(intent)
    assert len(intents.listed()) == 1
    intents.release(intent)
    assert list(intents.abandoned(NOW)) == ["a"]
    assert intents.resume("a", NOW).in_doubt


def test_what_was_never_sent_is_forgotten(intents: Intents) -> None:
    intent = presented()
    intents.present(intent, NOW)
    intents.forget(intent)
    assert intents.listed() == []
    with pytest.raises(NoIntent):
        intents.resume("a", LATER)
    with pytest.raises(NoIntent):
        intents.credit("a", TRANSACTION, NOW)


def test_what_was_refused_may_come_again(intents: Intents) -> None:
    first = presented()
    intents.present(first, NOW)
    intents.send(first)
    intents.refuse(first)
    (left,) = intents.listed()
    assert (left.state, left.in_doubt, left.is_decided) == ("refused", False, True)
    assert intents.undecided(HASH) is None
    with pytest.raises(NoIntent):
        intents.resume("a", LATER)
    with pytest.raises(OtherAccount):
        intents.present(presented(secret_hash=b"2" * 32), NOW)
    again = presented()
    assert intents.present(again, NOW) == again
    assert intents.resume("a", LATER).document == "{1}"


def test_what_is_unclear_waits_for_a_person(intents: Intents, ledger: Ledger) -> None:
    intent = presented()
    intents.present(intent, NOW)
    intents.send(intent)
    intents.doubt(intent)
    assert intents.undecided(HASH) == "a"
    assert list(intents.abandoned(LATER)) == []
    with pytest.raises(Unclear):
        intents.resume("a", LATER)
    with pytest.raises(Unclear):
        intents.present(presented(), LATER)
    intents.give_up("a", NOW)
    assert intents.undecided(HASH) is None
    (left,) = intents.listed()
    assert (left.state, left.in_doubt) == ("refused", False)
    assert outstanding(ledger) == 0
    # Whoever looked badly may look again.
    assert intents.credit("a", TRANSACTION, NOW).units == 100


def test_giving_up_waits_for_who_is_at_it(intents: Intents) -> None:
    intent = presented()
    intents.present(intent, NOW)
    with pytest.raises(Occupied):
        intents.give_up("a", NOW)
    intents.give_up("a", LATER)
    with pytest.raises(NoIntent):
        intents.give_up("a", LATER)
    with pytest.raises(NoIntent):
        intents.give_up("b", LATER)
    with pytest.raises(Occupied):
        intents.send(intent)


def test_a_credit_opens_the_account_once_and_counts_once(intents: Intents, ledger: Ledger) -> None:
    intents.present(presented(), NOW)
    credited = intents.credit("a", TRANSACTION, NOW)
    assert credited == Credited(credited.account, 100, TRANSACTION)
    assert intents.credit("a", "0x" + "8" * 64, LATER) == credited
    assert intents.present(presented(), LATER) == credited
    account = ledger.find(HASH, int(NOW))
    assert account is not None
    assert (account.number, account.balance, account.name) == (credited.account, 100, "x402")
    intents.present(presented("b"), NOW)
    assert intents.credit("b", TRANSACTION, NOW).account == credited.account
    assert outstanding(ledger) == 200
    assert discrepancies(ledger) == []
    assert intents.undecided(HASH) is None


def test_eight_that_credit_at_once_credit_once(intents: Intents, ledger: Ledger) -> None:
    for reference in "ab":
        intents.present(presented(reference), NOW)
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda at: intents.credit("ab"[at % 2], TRANSACTION, NOW), range(16)))
    assert len({each.account for each in told}) == 1
    assert outstanding(ledger) == 200


def test_eight_that_present_the_same_at_once_hold_it_once(intents: Intents) -> None:
    def present(_: int) -> bool:
        try:
            intents.present(presented(), NOW)
        except Occupied:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(present, range(16))) == 1


def test_an_account_that_is_opened_meanwhile_is_found(
    intents: Intents, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    intents.present(presented(), NOW)

    def meanwhile(*given: object, **more: object) -> int:
        monkeypatch.setattr(module, "add_account", add_account)
        raise IntegrityError("INSERT", {}, Exception("there is one"))

    monkeypatch.setattr(module, "add_account", meanwhile)
    assert intents.credit("a", TRANSACTION, NOW).units == 100
    intents.present(presented("b", b"3" * 32), NOW)

    def always(*_: object, **__: object) -> int:
        raise IntegrityError("INSERT", {}, Exception("there is one"))

    monkeypatch.setattr(module, "add_account", always)
    with pytest.raises(Occupied):
        intents.credit("b", TRANSACTION, NOW)
    assert outstanding(ledger) == 100


def test_a_credit_that_fails_leaves_the_intent_as_it_was(
    intents: Intents, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction: neither is there a balance without the state, nor the other way round."""
    intents.present(presented(), NOW)

    def fail(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "credit", fail)
        with pytest.raises(KeyboardInterrupt):
            intents.credit("a", TRANSACTION, NOW)
    assert not ledger.knows(HASH)
    assert intents.listed()[0].state == "open"
    assert intents.credit("a", TRANSACTION, NOW).units == 100


def test_so_many_are_held_at_once_and_no_more(ledger: Ledger) -> None:
    two = Intents(ledger, 2)
    first = presented("a")
    two.present(first, NOW)
    two.present(presented("b"), NOW)
    with pytest.raises(Occupied) as occupied:
        two.present(presented("c"), NOW)
    assert occupied.value.seconds == CROWDED_SECONDS
    assert {each.reference for each in two.listed()} == {"a", "b"}
    two.release(first)
    two.present(presented("c"), NOW)
    with pytest.raises(Occupied):
        two.resume("a", NOW)
    assert two.resume("a", LATER).reference == "a"


def test_eight_that_come_at_once_are_no_more_than_there_is_room_for(ledger: Ledger) -> None:
    two, together = Intents(ledger, 2), Barrier(8)

    def present(reference: str) -> bool:
        together.wait()
        try:
            two.present(presented(reference), NOW)
        except Occupied:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(present, "abcdefgh")) == 2
    assert len(two.listed()) == 2


def test_who_counts_waits_for_who_counts_already(postgresql: PostgreSql) -> None:
    """On SQLite one of them writes at a time; here both would find the last room."""
    address = postgresql.new_database()
    engine = open_database(address)
    upgrade(engine)
    intents = Intents(Ledger(engine, 1), 8)
    with ThreadPoolExecutor(1) as pool:
        with engine.begin() as first:
            first.execute(select(func.pg_advisory_xact_lock(module._COUNTING)))
            second = pool.submit(intents.present, presented(), NOW)
            assert postgresql.is_waited_in(address, unless=second.done)
        second.result()
    assert len(intents.listed()) == 1
    engine.dispose()


def test_more_than_a_balance_holds_is_not_presented(intents: Intents, ledger: Ledger) -> None:
    _, secret = open_account(ledger, int(NOW), units=MAX_AMOUNT - 99)
    digest = secret_digest(secret)
    with pytest.raises(OverFull):
        intents.present(presented(secret_hash=digest), NOW)
    assert intents.listed() == []
    intents.present(presented(secret_hash=digest, units=99), NOW)
    assert intents.credit("a", TRANSACTION, NOW).units == 99

"""The ledger: balances that only purchases and credits change, each once."""

import contextlib
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from token_issuer.account_secret import secret_digest
from token_issuer.accounts import Allowance
from token_issuer.administration import disable, discrepancies, issued_by_key, open_account
from token_issuer.ledger import (
    MAX_AMOUNT,
    InsufficientBalance,
    Ledger,
    NotIssuing,
    Purchase,
    PurchaseRefused,
    TooFast,
    UnknownAccount,
)

NOW = 1_765_000_000
DAY = 86_400


def purchase(reference: str, count: int = 1, price: int = 1, *, issuing: bool = True) -> Purchase:
    return Purchase(
        reference=reference,
        price=count * price,
        tokens={f"{price:064x}": count},
        only_price_point=price,
        is_issuing=issuing,
    )


def opened(ledger: Ledger, units: int = 0, **more: object) -> int:
    number, _ = open_account(ledger, NOW, units=units, **more)  # type: ignore[arg-type]
    return number


def balance(ledger: Ledger, number: int) -> int:
    with ledger.reading() as connection:
        query = text("SELECT balance FROM accounts WHERE id = :id")
        found: int = connection.execute(query, {"id": number}).scalar_one()
    return found


def test_a_purchase_is_found_again_by_its_reference(ledger: Ledger) -> None:
    number = opened(ledger, 10)
    first = ledger.purchase(number, purchase("a", 3), NOW)
    assert (first.amount, first.paid, first.balance, first.at) == (-3, 3, 7, NOW)
    assert ledger.purchase(number, purchase("a", 3), NOW + 5) == first
    assert ledger.purchase(number, purchase("b", 3), NOW).number != first.number
    assert balance(ledger, number) == 4
    assert issued_by_key(ledger) == {f"{1:064x}": 6}


def test_who_reads_waits_for_no_writer(ledger: Ledger) -> None:
    number = opened(ledger, 3)
    with ledger.engine.begin():
        assert balance(ledger, number) == 3


def test_the_last_unit_can_be_spent_and_no_more(ledger: Ledger) -> None:
    number = opened(ledger, 4)
    assert ledger.purchase(number, purchase("a", 1, 4), NOW).balance == 0
    with pytest.raises(InsufficientBalance) as refused:
        ledger.purchase(number, purchase("b"), NOW)
    assert (refused.value.balance, refused.value.price) == (0, 1)
    assert balance(ledger, number) == 0


def test_what_is_over_is_not_sold_and_what_was_paid_is_found(ledger: Ledger) -> None:
    number = opened(ledger, 10)
    first = ledger.purchase(number, purchase("a"), NOW)
    assert ledger.purchase(number, purchase("a", issuing=False), NOW) == first
    with pytest.raises(NotIssuing):
        ledger.purchase(number, purchase("b", issuing=False), NOW)
    assert balance(ledger, number) == 9


def test_who_may_not_spend(ledger: Ledger) -> None:
    banned, expired = opened(ledger, 9), opened(ledger, 9, expires=NOW)
    disable(ledger, banned, disabled=True)
    for number in (banned, expired, 10**9):
        with pytest.raises(UnknownAccount):
            ledger.purchase(number, purchase("a"), NOW)
    disable(ledger, banned, disabled=False)
    assert ledger.purchase(banned, purchase("a"), NOW).balance == 8
    assert ledger.purchase(expired, purchase("a"), NOW - 1).balance == 8


def test_a_secret_finds_its_account(ledger: Ledger) -> None:
    number, secret = open_account(ledger, NOW, units=5, expires=NOW + 1)
    account = ledger.find(secret_digest(secret.lower()), NOW)
    assert account is not None
    assert (account.number, account.balance) == (number, 5)
    assert ledger.find(secret_digest(secret), NOW + 1) is None
    assert ledger.find(secret_digest(secret + "A"), NOW) is None


def test_an_allowance_is_used_before_the_balance_and_renews(ledger: Ledger) -> None:
    number = opened(ledger, 5, allowance=Allowance(10, 1, DAY))
    midnight = NOW - NOW % DAY
    entry = ledger.purchase(number, purchase("a", 8), midnight)
    assert (entry.amount, entry.allowed, entry.paid, entry.balance) == (0, 8, 8, 5)
    entry = ledger.purchase(number, purchase("b", 4), midnight + DAY - 1)
    assert (entry.amount, entry.allowed, entry.paid, entry.balance) == (-2, 2, 4, 3)
    with pytest.raises(InsufficientBalance) as refused:
        ledger.purchase(number, purchase("c", 4), midnight + DAY - 1)
    assert (refused.value.balance, refused.value.price) == (3, 4)
    entry = ledger.purchase(number, purchase("d", 10), midnight + DAY)
    assert (entry.allowed, entry.balance) == (10, 3)
    assert discrepancies(ledger) == []


def test_an_allowance_is_of_one_price_point(ledger: Ledger) -> None:
    number = opened(ledger, 8, allowance=Allowance(10, 1, DAY))
    assert ledger.purchase(number, purchase("a", 1, 4), NOW).balance == 4
    mixed = Purchase("b", 4, {"a": 1, "b": 1}, None, is_issuing=True)
    assert ledger.purchase(number, mixed, NOW).balance == 0


def test_a_credit_counts_once_whichever_account_it_names(ledger: Ledger) -> None:
    first, second = opened(ledger), opened(ledger)
    assert ledger.credit(first, 5, "bank", "transfer 1", NOW)
    assert not ledger.credit(first, 5, "bank", "transfer 1", NOW)
    assert not ledger.credit(second, 5, "bank", "transfer 1", NOW)
    assert ledger.credit(second, 5, "stripe", "transfer 1", NOW)
    assert (balance(ledger, first), balance(ledger, second)) == (5, 5)
    assert discrepancies(ledger) == []


def test_the_same_credit_from_eight_sides_counts_once(ledger: Ledger) -> None:
    numbers = [opened(ledger) for _ in range(4)]

    def credit(at: int) -> bool:
        return ledger.credit(numbers[at % 4], 5, "stripe", "session", NOW)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(credit, range(16))).count(True) == 1
    assert sum(balance(ledger, number) for number in numbers) == 5


@pytest.mark.parametrize("amount", [0, -1, MAX_AMOUNT + 1])
def test_credits_that_are_none(ledger: Ledger, amount: int) -> None:
    with pytest.raises(ValueError, match="credit"):
        ledger.credit(opened(ledger), amount, "bank", "a", NOW)


def test_a_credit_is_no_purchase_and_has_an_account(ledger: Ledger) -> None:
    number = opened(ledger, MAX_AMOUNT)
    with pytest.raises(ValueError, match="credit"):
        ledger.credit(number, 1, "tokens", "a", NOW)
    with pytest.raises(ValueError, match="balance"):
        ledger.credit(number, 1, "bank", "a", NOW)
    with pytest.raises(UnknownAccount):
        ledger.credit(number + 1, 1, "bank", "a", NOW)
    assert balance(ledger, number) == MAX_AMOUNT


def test_the_database_itself_lets_no_balance_be_negative(engine: Engine, ledger: Ledger) -> None:
    opened(ledger, 1)
    with pytest.raises(IntegrityError), engine.begin() as connection:
        connection.execute(text("UPDATE accounts SET balance = -1"))


def test_how_much_is_signed_in_a_minute(engine: Engine) -> None:
    ledger = Ledger(engine, 60)
    number = opened(ledger, 1000)
    ledger.purchase(number, purchase("a", 50), NOW)
    with pytest.raises(TooFast) as refused:
        ledger.purchase(number, purchase("b", 15), NOW)
    assert refused.value.seconds == 5
    ledger.purchase(number, purchase("b", 15), NOW + 5)
    # A repetition is signed again, and counts.
    with pytest.raises(TooFast):
        ledger.purchase(number, purchase("a", 50), NOW + 5)
    ledger.purchase(number, purchase("a", 50), NOW + 55)
    # More than ever may be at once waits until nothing else was signed for a minute.
    with pytest.raises(TooFast):
        ledger.purchase(number, purchase("c", 100), NOW + 114)
    ledger.purchase(number, purchase("c", 100), NOW + 115)


def test_random_dealings_from_eight_sides_add_up(ledger: Ledger) -> None:
    numbers = [opened(ledger, 30, allowance=Allowance(5, 1, DAY)) for _ in range(3)]
    dealings = random.Random(7)
    plan = [
        (dealings.choice(numbers), dealings.randrange(40), dealings.randrange(1, 6))
        for _ in range(200)
    ]

    def deal(step: tuple[int, int, int]) -> int:
        number, reference, count = step
        if reference % 4 == 0:
            return count if ledger.credit(number, count, "bank", f"{step}", NOW) else 0
        with contextlib.suppress(PurchaseRefused):
            ledger.purchase(number, purchase(f"{reference} {count}", count), NOW)
        return 0

    with ThreadPoolExecutor(8) as pool:
        credited = sum(pool.map(deal, plan))
    assert discrepancies(ledger) == []
    with ledger.reading() as connection:
        taken, allowed = connection.execute(
            text("SELECT sum(-amount), sum(allowed) FROM entries WHERE kind = 'tokens'")
        ).one()
    assert int(taken) + int(allowed) == sum(issued_by_key(ledger).values())
    assert 90 + credited - int(taken) == sum(balance(ledger, number) for number in numbers)
    assert int(allowed) <= 15

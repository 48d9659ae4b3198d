"""What an operator does with accounts, and what the ledger tells of all of them."""

import pytest
from sqlalchemy import text

from token_issuer.accounts import Allowance
from token_issuer.administration import (
    all_accounts,
    buyers,
    disable,
    discrepancies,
    issued_by_key,
    last_lines,
    open_account,
    outstanding,
    undecided_payments,
)
from token_issuer.intent import new_intent
from token_issuer.intents import Intents
from token_issuer.ledger import Ledger, Purchase, UnknownAccount

NOW = 1_765_000_000


def buy(ledger: Ledger, number: int, reference: str, **tokens: int) -> None:
    count = sum(tokens.values())
    ledger.purchase(number, Purchase(reference, count, tokens, 1, is_issuing=True), NOW)


def test_an_account_is_as_it_was_opened(ledger: Ledger) -> None:
    free = Allowance(5, 4, 3600)
    number, secret = open_account(
        ledger, NOW, units=7, name="desk", expires=NOW + 9, allowance=free
    )
    (account,) = all_accounts(ledger, NOW)
    assert account.number == number
    assert secret.startswith("OBL-")
    assert (account.name, account.balance, account.expires) == ("desk", 7, NOW + 9)
    assert (account.allowance, account.allowance_left, account.disabled) == (free, 5, False)


def test_payments_that_are_not_decided_are_counted(ledger: Ledger) -> None:
    intents = Intents(ledger, 8)
    made = [new_intent(name, bytes(32), 1, NOW + 300, "", "") for name in "abcd"]
    for each in made:
        intents.present(each, NOW)
    assert undecided_payments(ledger) == 4
    intents.doubt(made[0])
    intents.refuse(made[1])
    intents.credit("c", "0x", NOW)
    assert undecided_payments(ledger) == 2


def test_nothing_of_a_first_allowance_is_used_whatever_its_period(ledger: Ledger) -> None:
    open_account(ledger, NOW, allowance=Allowance(5, 1, 10 * NOW))
    (account,) = all_accounts(ledger, NOW)
    assert account.allowance_left == 5


def test_an_account_without_anything_has_no_entry(ledger: Ledger) -> None:
    number, _ = open_account(ledger, NOW)
    assert last_lines(ledger, number, 20) == []


def test_the_last_entries_are_newest_first_with_their_tokens(ledger: Ledger) -> None:
    number, _ = open_account(ledger, NOW, units=10)
    other, _ = open_account(ledger, NOW, units=10)
    buy(ledger, number, "a", k1=2, k2=1)
    buy(ledger, other, "a", k1=1)
    lines = [
        (each.entry.kind, each.entry.amount, each.tokens) for each in last_lines(ledger, number, 9)
    ]
    assert lines == [("tokens", -3, 3), ("voucher", 10, 0)]
    assert len(last_lines(ledger, number, 1)) == 1


def test_who_bought_of_which_key(ledger: Ledger) -> None:
    first, second = (open_account(ledger, NOW, units=10)[0] for _ in range(2))
    buy(ledger, first, "a", k1=2)
    buy(ledger, first, "b", k1=3, k2=1)
    buy(ledger, second, "a", k2=4)
    assert buyers(ledger, "k1") == {first: 5}
    assert buyers(ledger, "k2") == {first: 1, second: 4}
    assert buyers(ledger, "k3") == {}
    assert issued_by_key(ledger) == {"k1": 5, "k2": 5}


def test_all_balances_together(ledger: Ledger) -> None:
    assert outstanding(ledger) == 0
    number, _ = open_account(ledger, NOW, units=10)
    open_account(ledger, NOW, units=5)
    buy(ledger, number, "a", k1=4)
    assert outstanding(ledger) == 11


def test_a_balance_that_was_tampered_with_is_found(ledger: Ledger) -> None:
    open_account(ledger, NOW)
    number, _ = open_account(ledger, NOW, units=10)
    assert discrepancies(ledger) == []
    with ledger.engine.begin() as connection:
        query = text("UPDATE accounts SET balance = 11 WHERE id = :number")
        connection.execute(query, {"number": number})
    assert discrepancies(ledger) == [number]


def test_nobody_is_not_disabled(ledger: Ledger) -> None:
    with pytest.raises(UnknownAccount):
        disable(ledger, 99, disabled=True)

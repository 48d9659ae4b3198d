"""Purchases: kept to the octet until their tokens are there, and gone from the disk then."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from oblivious_client.purchases import Purchase, Purchases
from oblivious_client.wallet import Wallet
from protocol.private_token import Token, request_token
from protocol.token_batch import decode_requests
from protocol.token_catalogue import Epoch
from tests.support.private_tokens import issuer_operation
from tests.support.wallets import C1, C4, MINT, NOW, Clock, octets_of, source_of, total

ACCOUNT = b"a" * 16
URL = "https://issuer.example"


@pytest.fixture
def wallet(tmp_path: Path) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=Clock())


def begun(wallet: Wallet, count: int = 10) -> Purchase:
    source = source_of(C4)
    made = [request_token(source.key.key, source.challenge_digest) for _ in range(count)]
    return Purchases(wallet).begin(source, URL, ACCOUNT, made)


def signed(purchase: Purchase) -> list[Token]:
    key = purchase.source.key
    operation = issuer_operation(MINT.private(key))
    asked = decode_requests(purchase.request)
    responses = [request.answer(key.key, operation) for request in asked]
    pairs = zip(purchase.pending, responses, strict=True)
    return [pending.finalize(response) for pending, response in pairs]


def test_a_purchase_is_read_as_it_was_begun(wallet: Wallet) -> None:
    purchase = begun(wallet)
    (found,) = Purchases(wallet).open()
    assert found == purchase
    assert found.begun == NOW
    assert found.account == ACCOUNT
    assert len(found.pending) == len(decode_requests(found.request)) == 10
    assert "inverse" not in repr(found)
    shown = {each.name for each in fields(found) if each.repr}
    assert shown == {each.name for each in fields(found)} - {"request", "pending"}


def test_what_is_read_after_a_restart_makes_tokens(wallet: Wallet) -> None:
    begun(wallet)
    (found,) = Purchases(Wallet(wallet.file.path)).open()
    assert len({token.nonce for token in signed(found)}) == 10


def test_tokens_come_in_place_of_their_purchase(wallet: Wallet) -> None:
    purchase = begun(wallet)
    tokens = signed(purchase)
    secrets = [pending.inverse.to_bytes(256, "big") for pending in purchase.pending]
    assert all(secret in octets_of(wallet) for secret in secrets)
    assert Purchases(wallet).finish(purchase, tokens, "receipt") == 10
    assert Purchases(wallet).open() == []
    assert total(wallet) == 10
    # What ties tokens to their purchase is gone: the inverses, and the octets that were sent.
    octets = octets_of(wallet)
    assert not any(secret in octets for secret in secrets)
    blinded = [request.blinded_message for request in decode_requests(purchase.request)]
    assert not any(message in octets for message in blinded)
    assert Purchases(wallet).receipts() == {URL: "receipt"}


def test_a_purchase_that_two_programs_finish_gives_its_tokens_once(wallet: Wallet) -> None:
    purchase = begun(wallet)
    tokens = signed(purchase)
    assert Purchases(wallet).finish(purchase, tokens, None) == 10
    assert Purchases(wallet).finish(purchase, tokens, None) == 0
    assert total(wallet) == 10
    assert Purchases(wallet).receipts() == {}


def test_who_ends_a_purchase_late_takes_none_that_has_its_number_by_then(wallet: Wallet) -> None:
    purchases = Purchases(wallet)
    first = begun(wallet)
    purchases.finish(first, signed(first), None)  # by another program, which resumes it
    second = begun(wallet)
    assert second.row == first.row
    purchases.finish(first, signed(first), None)
    purchases.drop(first)
    assert purchases.open() == [second]


def test_the_last_receipt_of_an_issuer_is_kept(wallet: Wallet) -> None:
    for receipt in ("first", None, "last", None):
        purchase = begun(wallet)
        Purchases(wallet).finish(purchase, signed(purchase), receipt)
    assert list(Purchases(wallet).receipts().values()) == ["last"]


def test_a_purchase_that_is_dropped_leaves_nothing(wallet: Wallet) -> None:
    purchase = begun(wallet)
    Purchases(wallet).drop(purchase)
    assert Purchases(wallet).open() == []
    assert not any(pending.nonce in octets_of(wallet) for pending in purchase.pending)


def test_purchases_are_in_their_order(wallet: Wallet) -> None:
    made = [begun(wallet, count) for count in (1, 2, 3)]
    assert Purchases(wallet).open() == made


def test_what_is_handed_over_changes_nothing_that_was_attested(wallet: Wallet) -> None:
    """Neither its times, by which tokens are kept, nor where a purchase is asked for again."""
    source = source_of(C4)
    later = Epoch(0, 1, 2)
    told = replace(source, key=replace(source.key, price=C1, epoch=later))
    purchases = Purchases(wallet)
    assert purchases.add(told, [MINT.token(C4)]) == 1  # which may come first
    assert wallet.piles()[0].redeem_until == 2
    purchase = begun(wallet)
    assert (wallet.piles()[0].price, wallet.piles()[0].redeem_until) == (
        C4,
        source.key.epoch.redeem_until,
    )
    purchases.add(told, [MINT.token(C4)])
    assert purchases.open() == [purchase]
    assert wallet.piles()[0].redeem_until == source.key.epoch.redeem_until

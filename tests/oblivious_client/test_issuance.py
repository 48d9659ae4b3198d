"""Buying: for attested keys alone, paid for once, and whatever is interrupted can be finished."""

from dataclasses import replace
from pathlib import Path

import pytest

from oblivious_client import issuer as issuer_module
from oblivious_client.defaults import PACKS
from oblivious_client.errors import EvidenceRefused, IssuerRefused, IssuerSilent, UsageError
from oblivious_client.exits import Exit
from oblivious_client.issuance import Bought, Buyer
from oblivious_client.purchases import Purchases
from oblivious_client.wallet import KEPT_SECONDS, Wallet
from protocol.errors import MalformedMessage
from protocol.issuer_directory import DirectoryKey, IssuerDirectory
from protocol.purchase_receipt import Receipt
from protocol.token_batch import decode_requests
from protocol.token_catalogue import Catalogue
from tests.support.private_tokens import toy_key
from tests.support.stand_in_issuer import SECRET, StandInIssuer
from tests.support.wallets import (
    C1,
    C4,
    C16,
    MINT,
    MODELS,
    Clock,
    counts,
    octets_of,
    total,
)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in signs a hundred tokens in a second, but on a machine that does much else."""
    monkeypatch.setattr(issuer_module, "ANSWER_SECONDS", 600.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=clock)


@pytest.fixture
def buyer(wallet: Wallet) -> Buyer:
    return Buyer(wallet, SECRET)


def catalogue_of(issuer: StandInIssuer) -> Catalogue:
    return issuer.catalogue(MODELS)


@pytest.mark.parametrize("count", PACKS)
def test_a_pack(count: int, buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        bought = buyer.buy(catalogue_of(issuer), C4, count)
        assert bought == Bought(C4, count, 0, has_receipt=True)
        assert issuer.balance == 10_000 - 4 * count
        assert counts(wallet) == (count, 0, 0, 0)
        held = wallet.take(catalogue_of(issuer), [C4])
        assert held is not None
        held.token.verify(MINT.keys[1].key, catalogue_of(issuer).challenge.digest)
        assert held.token.nonce not in b"".join(issuer.bodies)
        assert Purchases(wallet).open() == []
        (receipt,) = Purchases(wallet).receipts().values()
        told = Receipt.decode(receipt.encode())
        told.verify(issuer.bodies[0], issuer.receipt_key.public_key().public_bytes_raw())
        assert (told.amount, told.balance) == (4 * count, issuer.balance)
        assert issuer.fields[0]["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("count", [0, 1, 9, 20, 101])
def test_no_other_amount_is_bought(count: int, buyer: Buyer) -> None:
    with StandInIssuer(MINT) as issuer:
        with pytest.raises(UsageError, match="packs of 10, 50, 100"):
            buyer.buy(catalogue_of(issuer), C1, count)
        assert issuer.bodies == []


def test_two_purchases_have_nothing_in_common(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        for _ in range(2):
            buyer.buy(catalogue_of(issuer), C1, 10)
        first, second = (set(decode_requests(body)) for body in issuer.bodies)
        assert not first & second
    assert total(wallet) == 20


# Keys.


def test_an_issuer_without_the_attested_key_sells_nothing(buyer: Buyer, wallet: Wallet) -> None:
    def others(directory: IssuerDirectory) -> IssuerDirectory:
        return replace(directory, keys=(DirectoryKey(toy_key(7)),))

    with StandInIssuer(MINT) as issuer:
        issuer.faults.directory = others
        with pytest.raises(EvidenceRefused, match="does not list the attested key") as caught:
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert caught.value.code is Exit.CATALOGUE
        assert issuer.bodies == []
    assert not wallet.file.exists  # nothing was blinded


def test_a_price_point_that_there_is_not(buyer: Buyer) -> None:
    with StandInIssuer(MINT) as issuer, pytest.raises(UsageError, match="only of c1, c4, c16, c64"):
        buyer.buy(catalogue_of(issuer), replace(C1, units=2), 10)


def test_between_epochs_nothing_is_sold(buyer: Buyer, clock: Clock) -> None:
    clock.now = MINT.epochs[0].issue_from - 1
    with StandInIssuer(MINT) as issuer:
        with pytest.raises(IssuerRefused, match="no key for c1 is issuing now"):
            buyer.buy(catalogue_of(issuer), C1, 10)
        clock.now += 1
        assert buyer.buy(catalogue_of(issuer), C1, 10).count == 10


@pytest.mark.parametrize(
    "uri", ["https://elsewhere.example/token-request", "//other/x", "http://["]
)
def test_the_secret_goes_to_nobody_else(uri: str, buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.directory = lambda directory: replace(directory, request_uri=uri)
        with pytest.raises(IssuerRefused, match="to another place"):
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert issuer.bodies == []


# Refusals.


@pytest.mark.parametrize(
    ("status", "said", "is_kept"),
    [
        (401, "does not know the voucher", False),
        (402, "too little left", False),
        (413, "answered 413", False),
        (422, "does not sign such tokens now", False),
        (429, "too many purchases", False),
        (500, "answered 500", True),
        (503, "has no room", True),
    ],
)
def test_a_refusal_is_told_and_what_was_perhaps_paid_is_kept(
    status: int, said: str, is_kept: bool, buyer: Buyer, wallet: Wallet
) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.statuses = [status]
        with pytest.raises(IssuerRefused, match=said) as caught:
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert caught.value.code is Exit.ISSUER_REFUSED
        assert caught.value.advice
        assert len(Purchases(wallet).open()) == is_kept
        assert [each.count for each in buyer.resume()] == [10] * is_kept
    assert total(wallet) == 10 * is_kept


def test_too_little_on_a_voucher_is_told_in_numbers(wallet: Wallet) -> None:
    with StandInIssuer(MINT, balance=39) as issuer:
        with pytest.raises(IssuerRefused, match="cost 40 and 39 are left"):
            Buyer(wallet, SECRET).buy(catalogue_of(issuer), C4, 10)
        assert Buyer(wallet, SECRET).resume() == []
        with pytest.raises(IssuerRefused, match="does not know the voucher"):
            Buyer(wallet, "OBL-OTHER").buy(catalogue_of(issuer), C1, 10)
        assert issuer.balance == 39
    assert Purchases(wallet).open() == []


@pytest.mark.parametrize("body", [b"{", b'{"token-keys": []}', b"x" * 70_000])
def test_a_directory_that_is_none(body: bytes, buyer: Buyer) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.directory_body = body
        with pytest.raises((IssuerRefused, IssuerSilent)):
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert issuer.bodies == []


# Interruptions.


def test_an_answer_that_was_lost_is_asked_for_again_and_paid_once(
    buyer: Buyer, wallet: Wallet
) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.lost = 2
        with pytest.raises(IssuerSilent, match="no answer") as caught:
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert "tokens check" in caught.value.advice
        assert issuer.balance == 10_000 - 10
        with pytest.raises(IssuerSilent):
            buyer.resume()
        assert buyer.resume() == [Bought(C1, 10, 0, has_receipt=True, was_lost=True)]
        assert issuer.balance == 10_000 - 10
        assert len(set(issuer.bodies)) == 1
        assert len(issuer.bodies) == 3
    assert counts(wallet) == (10, 0, 0, 0)
    assert buyer.resume() == []


def test_nobody_there_is_told_and_what_was_begun_is_kept(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.lost = 1
        catalogue = catalogue_of(issuer)
        with pytest.raises(IssuerSilent):
            buyer.buy(catalogue, C1, 10)
    for ask in (buyer.resume, lambda: buyer.buy(catalogue, C1, 10)):
        with pytest.raises(IssuerSilent):
            ask()
    assert len(Purchases(wallet).open()) == 1


def test_only_purchases_of_that_kind_and_account_are_finished(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.lost = 2
        for price, count in ((C1, 10), (C16, 10)):
            with pytest.raises(IssuerSilent):
                buyer.buy(catalogue_of(issuer), price, count)
        assert Buyer(wallet, "OBL-OTHER").resume() == []
        assert buyer.resume(only=(C16, 50)) == []
        assert [each.price for each in buyer.resume(only=(C16, 10))] == [C16]
        # As the issuer does, the wallet takes no notice of how a voucher is typed.
        typed = Buyer(wallet, SECRET.lower())
        assert typed.account == buyer.account
        issuer.secret = SECRET.lower()
        assert [each.price for each in typed.resume()] == [C1]


def test_a_purchase_that_was_never_paid_for_is_forgotten_when_nothing_is_left(
    buyer: Buyer, wallet: Wallet
) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.statuses = [503]
        with pytest.raises(IssuerRefused):
            buyer.buy(catalogue_of(issuer), C1, 10)
        issuer.balance = 0
        with pytest.raises(IssuerRefused, match="0 are left"):
            buyer.resume()
    assert Purchases(wallet).open() == []


@pytest.mark.parametrize("status", [401, 422, 429, 503])
def test_a_purchase_that_was_perhaps_paid_for_is_kept_whatever_the_issuer_says(
    status: int, buyer: Buyer, wallet: Wallet
) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.lost = 1
        with pytest.raises(IssuerSilent):
            buyer.buy(catalogue_of(issuer), C1, 10)
        issuer.faults.statuses = [status]
        with pytest.raises(IssuerRefused):
            buyer.resume()
        assert [each.count for each in buyer.resume()] == [10]


def test_a_purchase_is_not_lost_to_a_clock_and_forgotten_with_its_tokens(
    buyer: Buyer, wallet: Wallet, clock: Clock
) -> None:
    with StandInIssuer(MINT) as issuer:
        catalogue = catalogue_of(issuer)
        before = clock.now
        for _ in range(2):
            issuer.faults.lost = 1
            with pytest.raises(IssuerSilent):
                buyer.buy(catalogue, C1, 10)
        clock.now = MINT.epochs[0].redeem_until
        assert buyer.resume() == []
        assert len(Purchases(wallet).open()) == 2
        clock.now = before
        assert [each.count for each in buyer.resume()] == [10, 10]
        issuer.faults.lost = 1
        with pytest.raises(IssuerSilent):
            buyer.buy(catalogue, C1, 10)
    clock.now = MINT.epochs[0].redeem_until + KEPT_SECONDS + 1
    assert wallet.take(catalogue, (C1,)) is None
    assert Purchases(wallet).open() == []


# Answers.


def test_members_that_were_not_issued_are_told(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.responses = lambda signed: [None, *signed[1:9], None]
        bought = buyer.buy(catalogue_of(issuer), C1, 10)
    assert (bought.count, bought.missing) == (8, 2)
    assert total(wallet) == 8


@pytest.mark.parametrize("place", [0, 9])
def test_one_wrong_signature_and_none_comes_in(place: int, buyer: Buyer, wallet: Wallet) -> None:
    def spoiled(signed: list[bytes | None]) -> list[bytes | None]:
        signed[place] = bytes(255) + b"\1"
        return signed

    with StandInIssuer(MINT) as issuer:
        issuer.faults.responses = spoiled
        with pytest.raises(IssuerRefused, match="do not verify") as caught:
            buyer.buy(catalogue_of(issuer), C1, 10)
        assert "kept" in caught.value.advice
        assert total(wallet) == 0
        issuer.faults.responses = lambda signed: signed
        assert [each.count for each in buyer.resume()] == [10]
    assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize("count", [9, 11])
def test_another_number_of_answers_is_refused(count: int, buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.responses = lambda signed: (signed * 2)[:count]
        with pytest.raises(IssuerRefused, match="do not verify") as caught:
            buyer.buy(catalogue_of(issuer), C1, 10)
    assert isinstance(caught.value.__cause__, MalformedMessage)
    assert len(Purchases(wallet).open()) == 1


def test_an_answer_of_another_type_is_refused(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.media_type = "text/html"
        with pytest.raises(IssuerRefused, match="something that is no tokens"):
            buyer.buy(catalogue_of(issuer), C1, 10)
    assert len(Purchases(wallet).open()) == 1


@pytest.mark.parametrize("receipt", [b"none", b"A" * 120])
def test_a_receipt_that_does_not_verify_is_not_kept(
    receipt: bytes, buyer: Buyer, wallet: Wallet
) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.receipt = lambda _: receipt
        bought = buyer.buy(catalogue_of(issuer), C1, 10)
    assert not bought.has_receipt
    assert total(wallet) == 10
    assert Purchases(wallet).receipts() == {}


def test_an_issuer_without_receipts_is_one_too(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.directory = lambda directory: replace(directory, receipt_key=None)
        assert not buyer.buy(catalogue_of(issuer), C1, 10).has_receipt


def test_the_secret_of_an_account_is_not_in_the_wallet(buyer: Buyer, wallet: Wallet) -> None:
    with StandInIssuer(MINT) as issuer:
        issuer.faults.lost = 1
        with pytest.raises(IssuerSilent):
            buyer.buy(catalogue_of(issuer), C1, 10)
    assert SECRET.encode() not in octets_of(wallet)
    assert buyer.account in octets_of(wallet)

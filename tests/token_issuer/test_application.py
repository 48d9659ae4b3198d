"""The issuer's resources: what is bought, what is refused, and what a refusal costs."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from protocol.issuer_directory import IssuerDirectory
from protocol.private_token import Token, TokenRequest, request_token
from protocol.purchase_receipt import Receipt
from protocol.token_batch import encode_requests
from protocol.token_catalogue import SKEW_SECONDS
from tests.support.issuing import (
    BATCH,
    CHALLENGE,
    NOW,
    RECEIPT_KEY,
    SINGLE,
    Basket,
    Shop,
    basket,
    key_for,
    key_ring,
)
from tests.support.private_tokens import epoch
from token_issuer.accounts import Account, Allowance
from token_issuer.administration import all_accounts, disable, discrepancies
from token_issuer.ledger import Ledger
from token_issuer.order import MAX_ORDER_BYTES
from token_issuer.signing import PrivateOperation

PUBLIC_RECEIPT_KEY = RECEIPT_KEY.public_key().public_bytes_raw()


def problem(answer: TestResponse) -> dict[str, Any]:
    """Return the problem document that an answer has."""
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    members: dict[str, Any] = json.loads(answer.data)
    assert members["status"] == answer.status_code
    assert members["type"] == "about:blank"
    return members


def check(tokens: list[Token], price: int) -> None:
    for token in tokens:
        token.verify(key_for(price).key, CHALLENGE.digest)


def test_a_batch_is_bought(shop: Shop) -> None:
    _, secret = shop.voucher(100)
    wanted = basket(10, price=4)
    answer = shop.buy(secret, wanted.body)
    assert answer.status_code == 200
    assert answer.content_type == "application/private-token-generic-batch-response"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["ledger-entry"].isdigit()
    tokens = wanted.open(answer.data)
    check(tokens, price=4)
    assert len({token.nonce for token in tokens}) == 10
    assert shop.balance(secret) == 60


def test_one_token_is_bought(shop: Shop) -> None:
    _, secret = shop.voucher(1)
    request, pending = request_token(key_for(1).key, CHALLENGE.digest)
    answer = shop.buy(secret, request.encode(), SINGLE)
    assert answer.status_code == 200
    assert answer.content_type == "application/private-token-response"
    check([pending.finalize(answer.data)], price=1)
    assert shop.balance(secret) == 0


def test_tokens_of_two_prices_are_bought_together(shop: Shop) -> None:
    _, secret = shop.voucher(5)
    pairs = [request_token(key_for(price).key, CHALLENGE.digest) for price in (1, 4)]
    answer = shop.buy(secret, encode_requests([request for request, _ in pairs]))
    tokens = Basket(b"", [pending for _, pending in pairs]).open(answer.data)
    check(tokens[:1], price=1)
    check(tokens[1:], price=4)
    assert shop.balance(secret) == 0


def test_the_same_request_is_paid_for_once_and_answered_alike(shop: Shop) -> None:
    _, secret = shop.voucher(3)
    wanted = basket(3)
    first = shop.buy(secret, wanted.body)
    shop.clock.now += 3600
    again = shop.buy(secret, wanted.body)
    assert first.status_code == again.status_code == 200
    assert first.data == again.data
    for name in ("ledger-entry", "oblivious-receipt"):
        assert first.headers[name] == again.headers[name]
    assert shop.balance(secret) == 0


def test_two_accounts_that_send_the_same_both_pay(shop: Shop) -> None:
    wanted = basket(3)
    for _ in range(2):
        _, secret = shop.voucher(3)
        assert shop.buy(secret, wanted.body).status_code == 200
        assert shop.balance(secret) == 0


def test_what_was_paid_for_is_signed_after_the_window_while_the_key_is_there(shop: Shop) -> None:
    _, secret = shop.voucher(6)
    wanted, late = basket(3), basket(3)
    first = shop.buy(secret, wanted.body)
    shop.clock.now = epoch(0).issue_until + 3600
    assert shop.buy(secret, wanted.body).data == first.data
    assert shop.buy(secret, late.body).status_code == 422
    assert shop.balance(secret) == 3


def test_the_receipt_is_of_this_purchase(shop: Shop) -> None:
    _, secret = shop.voucher(10)
    wanted = basket(3)
    answer = shop.buy(secret, wanted.body)
    receipt = Receipt.decode(answer.headers["oblivious-receipt"].encode())
    directory = IssuerDirectory.decode(
        shop.client.get("/.well-known/private-token-issuer-directory").data
    )
    assert directory.receipt_key == PUBLIC_RECEIPT_KEY
    receipt.verify(wanted.body, PUBLIC_RECEIPT_KEY)
    assert (receipt.amount, receipt.balance, receipt.time) == (3, 7, int(NOW))


# Refusals ----------------------------------------------------------------------------------


def beyond_modulus() -> bytes:
    number = key_for(1).key.public_key.public_numbers().n
    return TokenRequest(key_for(1).key.truncated_id, number.to_bytes(256, "big")).encode()


def unknown_octet() -> bytes:
    taken = {each.entry.key.truncated_id for each in key_ring().keys}
    free = next(octet for octet in range(256) if octet not in taken)
    return TokenRequest(free, bytes(255) + b"\2").encode()


def hundred_and_one() -> bytes:
    request, _ = request_token(key_for(1).key, CHALLENGE.digest)
    members = request.encode() * 101
    return b"\x80\x00" + len(members).to_bytes(2, "big") + members


def with_a_good_one(bad: bytes) -> bytes:
    good = TokenRequest.decode(basket(1).body[2:])
    return encode_requests([good, TokenRequest.decode(bad)])


UNPROCESSABLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty": (SINGLE, lambda: b""),
    "an octet short": (SINGLE, lambda: basket(1).body[2:-1]),
    "an octet more": (SINGLE, lambda: basket(1).body[2:] + b"\0"),
    "another type": (SINGLE, lambda: b"\0\1" + bytes(257)),
    "at or above the modulus": (SINGLE, beyond_modulus),
    "unknown key": (SINGLE, unknown_octet),
    "key of a later epoch": (SINGLE, lambda: basket(1, number=1).body[2:]),
    "a batch of none": (BATCH, lambda: b"\0"),
    "a batch of 101": (BATCH, hundred_and_one),
    "a batch that ends early": (BATCH, lambda: basket(2).body[:-1]),
    "a batch with more behind": (BATCH, lambda: basket(2).body + b"\0"),
    "a batch with one unknown key": (
        BATCH,
        lambda: with_a_good_one(unknown_octet()),
    ),
    "a batch with one beyond the modulus": (
        BATCH,
        lambda: with_a_good_one(beyond_modulus()),
    ),
    "a batch with one of a later epoch": (BATCH, lambda: basket(1, number=1).body),
}


@pytest.mark.parametrize("case", UNPROCESSABLE)
def test_422_costs_nothing(shop: Shop, case: str) -> None:
    kind, body = UNPROCESSABLE[case]
    _, secret = shop.voucher(200)
    answer = shop.buy(secret, body(), kind)
    assert problem(answer).keys() == {"type", "title", "status"}
    assert answer.status_code == 422
    assert shop.balance(secret) == 200


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        (epoch(1).issue_from - SKEW_SECONDS - 1, 422),
        (epoch(1).issue_from - SKEW_SECONDS, 200),
        (epoch(1).issue_until + SKEW_SECONDS - 1, 200),
        (epoch(1).issue_until + SKEW_SECONDS, 422),
    ],
)
def test_a_second_out_of_its_window_a_key_sells_nothing(
    shop: Shop, moment: int, status: int
) -> None:
    shop.clock.now = moment
    _, secret = shop.voucher(3)
    assert shop.buy(secret, basket(3, number=1).body).status_code == status
    assert shop.balance(secret) == (0 if status == 200 else 3)


def test_415_for_another_media_type(shop: Shop) -> None:
    _, secret = shop.voucher(200)
    for kind in ("application/json", "", "application/private-token-response"):
        answer = shop.buy(secret, basket(1).body, kind)
        problem(answer)
        assert answer.status_code == 415
    assert shop.balance(secret) == 200


def test_413_for_more_than_a_batch_has(shop: Shop) -> None:
    _, secret = shop.voucher(200)
    answer = shop.buy(secret, bytes(MAX_ORDER_BYTES + 1))
    problem(answer)
    assert answer.status_code == 413
    assert shop.buy(secret, bytes(MAX_ORDER_BYTES)).status_code == 422


def test_402_says_what_there_is_and_what_it_takes(shop: Shop) -> None:
    _, secret = shop.voucher(11)
    answer = shop.buy(secret, basket(3, price=4).body)
    assert answer.status_code == 402
    assert problem(answer) == {
        "type": "about:blank",
        "title": "Payment Required",
        "status": 402,
        "balance": 11,
        "price": 12,
    }
    assert shop.balance(secret) == 11


def test_401_is_the_same_for_all_who_may_not_spend(shop: Shop) -> None:
    banned, banned_secret = shop.voucher(100)
    disable(shop.ledger, banned, disabled=True)
    _, expired = shop.voucher(100, expires=int(NOW))
    _, good = shop.voucher(100)
    wanted = basket(1)
    answers = [
        shop.client.post("/token-request", data=wanted.body, content_type=BATCH, headers=fields)
        for fields in (
            {},
            {"Authorization": "Bearer OBL-AAAAAAAAAAAAAAAAAAAAAAAAAA"},
            {"Authorization": f"Bearer {banned_secret}"},
            {"Authorization": f"Bearer {expired}"},
            {"Authorization": f"Basic {good}"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {good} {good}"},
        )
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.data, str(answer.headers)) for answer in answers}) == 1
    assert problem(answers[0])
    assert answers[0].headers["WWW-Authenticate"] == "Bearer"
    assert shop.buy(good, wanted.body).status_code == 200


def test_401_for_who_was_disabled_meanwhile(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    number, secret = shop.voucher(3)
    find = Ledger.find

    def find_and_disable(ledger: Ledger, digest: bytes, now: int) -> Account | None:
        found = find(ledger, digest, now)
        disable(ledger, number, disabled=True)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "find", find_and_disable)
        assert shop.buy(secret, basket(3).body).status_code == 401
    disable(shop.ledger, number, disabled=False)
    assert shop.balance(secret) == 3


def test_401_also_where_the_order_could_not_be_read(shop: Shop) -> None:
    assert shop.buy("OBL-AAAAAAAAAAAAAAAAAAAAAAAAAA", b"nonsense", "x/y").status_code == 401


def test_429_for_who_asks_too_much_and_not_for_others(ledger: Ledger) -> None:
    slow = Shop(Ledger(ledger.engine, 60))
    (_, hasty), (_, other) = slow.voucher(100), slow.voucher(100)
    assert slow.buy(hasty, basket(60).body).status_code == 200
    answer = slow.buy(hasty, basket(3).body)
    problem(answer)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "3"
    assert slow.buy(other, basket(3).body).status_code == 200
    slow.clock.now += 3
    assert slow.buy(hasty, basket(3).body).status_code == 200
    assert slow.balance(hasty) == 37


def test_503_while_the_ledger_is_away_and_nothing_is_lost(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, secret = shop.voucher(3)
    wanted = basket(3)

    def fail(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("the server is away"))

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "purchase", fail)
        answer = shop.buy(secret, wanted.body)
    assert problem(answer).keys() == {"type", "title", "status"}
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    failed = json.loads(capsys.readouterr().err.splitlines()[0])
    assert failed == {"time": NOW, "event": "ledger_failed", "what": "Exception"}
    assert shop.buy(secret, wanted.body).status_code == 200


def test_503_for_a_key_that_fails_and_the_price_is_taken_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    number, secret = shop.voucher(3)
    wanted = basket(3)
    with monkeypatch.context() as patch:
        patch.setattr(PrivateOperation, "__call__", lambda *_: 1)
        answer = shop.buy(secret, wanted.body)
    problem(answer)
    assert answer.status_code == 503
    failed = json.loads(capsys.readouterr().err.splitlines()[0])
    assert failed == {"time": NOW, "event": "signing_failed", "account": number}
    assert shop.balance(secret) == 0
    check(wanted.open(shop.buy(secret, wanted.body).data), price=1)
    assert shop.balance(secret) == 0


def test_paths_and_methods_that_are_not(shop: Shop) -> None:
    assert shop.client.get("/nothing").status_code == 404
    answer = shop.client.get("/token-request")
    problem(answer)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert shop.client.get("/payments/stripe").status_code == 405
    assert shop.client.post("/payments/stripe", data=b"{}").status_code == 404


# Many at once -------------------------------------------------------------------------------


def test_eight_buyers_of_one_voucher_never_overdraw(shop: Shop) -> None:
    _, secret = shop.voucher(20)
    baskets = [basket(2) for _ in range(32)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: shop.buy(secret, each.body), baskets))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(402)) == (10, 22)
    tokens = [
        token
        for wanted, answer in zip(baskets, answers, strict=True)
        if answer.status_code == 200
        for token in wanted.open(answer.data)
    ]
    check(tokens, price=1)
    assert len({token.nonce for token in tokens}) == 20
    assert shop.balance(secret) == 0
    assert discrepancies(shop.ledger) == []


def test_one_request_eight_times_at_once_is_paid_for_once(shop: Shop) -> None:
    _, secret = shop.voucher(100)
    wanted = basket(2)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: shop.buy(secret, wanted.body), range(16)))
    assert {(answer.status_code, answer.data) for answer in answers} == {(200, answers[0].data)}
    assert shop.balance(secret) == 98


# What else there is --------------------------------------------------------------------------


def test_the_directory_lists_what_signs_now_and_later(shop: Shop) -> None:
    answer = shop.client.get("/.well-known/private-token-issuer-directory")
    assert answer.content_type == "application/private-token-issuer-directory"
    assert answer.headers["Cache-Control"] == "max-age=3600"
    directory = IssuerDirectory.decode(answer.data)
    assert directory.request_uri == "/token-request"
    listed = [(each.key, each.not_before) for each in directory.keys]
    assert listed == [
        (key_for(price, number).key, epoch(number).issue_from)
        for number in (0, 1)
        for price in (1, 4)
    ]


def test_the_directory_ends_when_its_keys_change(shop: Shop) -> None:
    path = "/.well-known/private-token-issuer-directory"
    shop.clock.now = epoch(0).issue_until - 60
    answer = shop.client.get(path)
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert IssuerDirectory.decode(answer.data).has(key_for(1, 0).key)
    shop.clock.now = epoch(0).issue_until
    assert not IssuerDirectory.decode(shop.client.get(path).data).has(key_for(1, 0).key)


def test_an_account_sees_its_balance_and_its_last_entries(shop: Shop) -> None:
    number, secret = shop.voucher(100, allowance=Allowance(5, 1, 86400), expires=int(NOW) + 10)
    for _ in range(21):
        shop.buy(secret, basket(1, price=4).body)
    answer = shop.client.get("/account", headers={"Authorization": f"Bearer {secret}"})
    assert answer.headers["Cache-Control"] == "no-store"
    members = json.loads(answer.data)
    lines = members.pop("entries")
    assert members == {
        "account": number,
        "balance": 16,
        "allowance": {"units": 5, "left": 5, "price": "c1", "period_seconds": 86400},
        "expires": int(NOW) + 10,
        "prices": {"c1": 1, "c4": 4},
    }
    assert len(lines) == 20
    entry = lines[0].pop("ledger_entry")
    assert isinstance(entry, int)
    assert lines[0] == {
        "at": int(NOW),
        "kind": "tokens",
        "amount": -4,
        "allowed": 0,
        "balance": 16,
        "tokens": 1,
    }


def test_the_account_needs_its_secret(shop: Shop) -> None:
    assert shop.client.get("/account").status_code == 401


def test_the_log_tells_account_and_counts_and_nothing_else(
    shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    number, secret = shop.voucher(5)
    wanted = basket(3)
    shop.buy(secret, wanted.body)
    shop.buy("OBL-AAAAAAAAAAAAAAAAAAAAAAAAAA", wanted.body)
    shop.client.get("/who/../knows?secret=1")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    about = {"time": NOW, "event": "request"}
    assert lines == [
        {**about, "route": "tokens", "status": 200, "account": number, "tokens": 3},
        {**about, "route": "tokens", "status": 401},
        {**about, "route": "other", "status": 404},
    ]


def test_all_accounts_are_listed(shop: Shop) -> None:
    numbers = [shop.voucher(units)[0] for units in (1, 2)]
    assert [each.number for each in all_accounts(shop.ledger, int(NOW))] == numbers

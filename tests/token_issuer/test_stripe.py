"""Payments that a provider tells of: its signatures, as its own package makes them, and events."""

import json
from typing import Any

import pytest
import stripe
from werkzeug.test import TestResponse

from protocol.errors import MalformedMessage, SignatureInvalid
from tests.support.issuing import Clock, Shop
from token_issuer.application import MAX_EVENT_BYTES
from token_issuer.ledger import MAX_AMOUNT
from token_issuer.stripe import TOLERANCE_SECONDS, Payment, StripeAccount

SECRET = "whsec_for_tests"
ACCOUNT = StripeAccount(SECRET.encode(), "eur", 5)
NOW = 1_765_000_000


def event(account: int | str = 1, total: Any = 500, **changes: Any) -> bytes:
    """Return an event in the provider's form, with some of its session changed."""
    session = {
        "id": "cs_test_1",
        "object": "checkout.session",
        "amount_total": total,
        "currency": "eur",
        "client_reference_id": str(account),
        "payment_status": "paid",
    }
    kind = changes.pop("type", "checkout.session.completed")
    return json.dumps({"id": "evt_1", "type": kind, "data": {"object": session | changes}}).encode()


def signature(body: bytes, now: int = NOW, secret: str = SECRET) -> str:
    """Return the header that the provider's own package makes."""
    computed = stripe.WebhookSignature._compute_signature(f"{now}.{body.decode()}", secret)
    return f"t={now},v1={computed}"


def test_what_the_providers_package_signs_is_taken() -> None:
    body = event()
    ACCOUNT.verify(signature(body), body, NOW)
    ACCOUNT.verify(f"{signature(body)},v0=00", body, NOW + TOLERANCE_SECONDS)
    ACCOUNT.verify(signature(body).replace(",", f",v1={'0' * 64},"), body, NOW - TOLERANCE_SECONDS)


def test_what_is_taken_the_providers_package_takes_too() -> None:
    body = event()
    stripe.WebhookSignature.verify_header(body.decode(), signature(body), SECRET)


@pytest.mark.parametrize(
    ("header", "now"),
    [
        ("", NOW),
        (signature(event()), NOW + TOLERANCE_SECONDS + 1),
        (signature(event()), NOW - TOLERANCE_SECONDS - 1),
        (signature(event(), secret="another"), NOW),
        (signature(event(2)), NOW),
        (signature(event()).replace("v1=", "v0="), NOW),
        (signature(event()).replace("t=", "T="), NOW),
        (signature(event()) + f",t={NOW}", NOW),
        (signature(event()).replace(f"t={NOW}", f"t={NOW + 1}"), NOW),
        (signature(event()).replace(f"t={NOW}", "t=" + "9" * 5000), NOW),
        (signature(event()).replace(f"t={NOW}", "t=\N{SUPERSCRIPT TWO}"), NOW),
        (signature(event())[:-1], NOW),
        (f"t={NOW},v1=\N{SNOWMAN}", NOW),
        (",".join([f"t={NOW}", *["v1=00"] * 8, signature(event()).partition(",")[2]]), NOW),
    ],
)
def test_signatures_that_are_none(header: str, now: int) -> None:
    with pytest.raises(SignatureInvalid):
        ACCOUNT.verify(header, event(), now)


def test_the_last_of_many_signatures_counts() -> None:
    forged = ",".join(["v1=00"] * 7)
    time, good = signature(event()).split(",")
    ACCOUNT.verify(f"{time},{forged},{good}", event(), NOW)


def test_the_longest_numbers_and_names_that_are_taken() -> None:
    found = ACCOUNT.read_payment(event("9" * 18, id="x" * 255))
    assert found == Payment(10**18 - 1, 100, "x" * 255)
    assert ACCOUNT.read_payment(event(total=5)) == Payment(1, 1, "cs_test_1")
    assert SECRET not in repr(ACCOUNT)


def test_a_paid_session_is_a_payment_in_whole_units() -> None:
    assert ACCOUNT.read_payment(event(7, 504)) == Payment(7, 100, "cs_test_1")
    late = event(7, 5, type="checkout.session.async_payment_succeeded")
    assert ACCOUNT.read_payment(late) == Payment(7, 1, "cs_test_1")


@pytest.mark.parametrize(
    "body",
    [
        event(payment_status="unpaid"),
        event(type="checkout.session.expired"),
        event(type="payment_intent.succeeded"),
        event(currency="usd"),
        event(total=4),
        event(total=-500),
        event(total="500"),
        event(total=True),
        event(total=None),
        b"{}",
        b'{"type":"checkout.session.completed","data":[]}',
        b'{"type":"checkout.session.completed","data":{"object":1}}',
    ],
)
def test_events_that_pay_nothing(body: bytes) -> None:
    assert ACCOUNT.read_payment(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        event("somebody"),
        event(""),
        event("-1"),
        event("\N{SUPERSCRIPT TWO}"),
        event("9" * 19),
        event(client_reference_id=None),
        event(client_reference_id=1),
        event(id=None),
        event(id=""),
        event(id="x" * 256),
    ],
)
def test_payments_of_which_nobody_knows_for_whom(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        ACCOUNT.read_payment(body)


# Over HTTP ----------------------------------------------------------------------------------


@pytest.fixture
def paid_shop(shop: Shop) -> Shop:
    shop.more["stripe_account"] = ACCOUNT
    shop.clock = Clock(NOW)
    return shop


def tell(shop: Shop, body: bytes, header: str | None = None) -> TestResponse:
    fields = {"Stripe-Signature": signature(body) if header is None else header}
    return shop.client.post("/payments/stripe", data=body, headers=fields)


def test_a_payment_is_credited_once_however_often_it_is_told(paid_shop: Shop) -> None:
    number, secret = paid_shop.voucher(0)
    for _ in range(2):
        answer = tell(paid_shop, event(number))
        assert (answer.status_code, answer.data) == (200, b"{}")
    late = event(number, type="checkout.session.async_payment_succeeded")
    assert tell(paid_shop, late).status_code == 200
    assert paid_shop.balance(secret) == 100
    assert tell(paid_shop, event(number, id="cs_test_2")).status_code == 200
    assert paid_shop.balance(secret) == 200


def test_what_pays_nothing_is_taken_and_changes_nothing(paid_shop: Shop) -> None:
    number, secret = paid_shop.voucher(0)
    assert tell(paid_shop, event(number, payment_status="unpaid")).status_code == 200
    assert paid_shop.balance(secret) == 0


@pytest.mark.parametrize("header", ["", "t=1,v1=00", signature(event(), secret="another")])
def test_400_for_who_is_not_the_provider(paid_shop: Shop, header: str) -> None:
    number, secret = paid_shop.voucher(0)
    assert tell(paid_shop, event(number), header).status_code == 400
    assert paid_shop.balance(secret) == 0


def test_the_log_tells_what_was_credited_and_what_could_not_be(
    paid_shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    number, _ = paid_shop.voucher(0)
    for account in (number, number, number + 1):
        tell(paid_shop, event(account))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line for line in lines if line["event"] != "request"] == [
        {"time": NOW, "event": "credited", "account": number, "units": 100},
        {"time": NOW, "event": "payment_for_no_account", "account": number + 1},
    ]


def test_422_for_an_account_that_is_not_there_or_cannot_hold_it(paid_shop: Shop) -> None:
    number, _ = paid_shop.voucher(MAX_AMOUNT)
    assert tell(paid_shop, event(number + 1)).status_code == 422
    assert tell(paid_shop, event(number)).status_code == 422
    assert tell(paid_shop, event("nobody")).status_code == 400


def test_413_for_more_than_an_event_has(paid_shop: Shop) -> None:
    assert tell(paid_shop, b" " * (MAX_EVENT_BYTES + 1)).status_code == 413

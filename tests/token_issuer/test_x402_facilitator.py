"""Asking a facilitator by the published package: limits, and what is taken for an answer.

What a payment meets on its whole way is in test_x402_desk.py.
"""

import json
import sys
from collections.abc import Iterator

import httpx
import pytest
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.schemas.payments import PaymentRequired

from tests.support.stand_in_facilitator import ASSET, NAME, NETWORK, PAY_TO
from tests.support.stand_in_facilitator import ASSET_VERSION as VERSION
from tests.token_issuer.test_x402_payment import DOCUMENT
from token_issuer.serving import REQUEST_SECONDS
from token_issuer.x402_facilitator import (
    MAX_ANSWER_BYTES,
    REFUSED,
    SETTLE_SECONDS,
    VERIFY_SECONDS,
    Facilitator,
    FacilitatorSilent,
    payment_required_field,
    payment_response_field,
)
from token_issuer.x402_payment import PaymentRefused, Terms

TERMS = Terms(NETWORK, ASSET, NAME, VERSION, PAY_TO, 5_000_000)
GIVEN = (json.dumps(DOCUMENT), json.dumps(TERMS.members))
TRANSACTION = "0x" + "aB" * 32
SETTLED = {"success": True, "transaction": TRANSACTION, "network": NETWORK}


class Said(httpx.BaseTransport):
    """A facilitator that says one thing."""

    def __init__(self, said: object, **more: object) -> None:
        octets = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.pieces = [octets]
        self.more = more
        self.asked: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        pieces = self.pieces

        class Body(httpx.SyncByteStream):
            def __iter__(self) -> Iterator[bytes]:
                yield from pieces

        return httpx.Response(200, stream=Body(), **self.more)  # type: ignore[arg-type]


def facilitator(said: httpx.BaseTransport) -> Facilitator:
    return Facilitator("https://f.example/base/", transport=lambda: said)


def test_both_questions_fit_into_a_request() -> None:
    assert VERIFY_SECONDS + SETTLE_SECONDS < REQUEST_SECONDS


def test_what_is_asked() -> None:
    said = Said({"isValid": True})
    facilitator(said).verify(*GIVEN)
    (asked,) = said.asked
    assert asked.url == "https://f.example/base/verify"
    assert "Authorization" not in asked.headers
    assert asked.headers["Accept-Encoding"] == "identity"
    body = json.loads(asked.content)
    assert body["paymentRequirements"] == TERMS.members
    assert body["paymentPayload"]["payload"] == DOCUMENT["payload"]
    said = Said({"isValid": True})
    Facilitator("https://f.example", "a b", lambda: said).verify(*GIVEN)
    assert said.asked[0].headers["Authorization"] == "Bearer a b"


def test_what_was_settled_is_its_transaction() -> None:
    assert facilitator(Said(SETTLED)).settle(*GIVEN) == TRANSACTION.lower()
    whole = {**SETTLED, "amount": "5000000", "payer": PAY_TO}
    assert facilitator(Said(whole)).settle(*GIVEN) == TRANSACTION.lower()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"null",
        {},
        {"success": True, "network": NETWORK},
        {**SETTLED, "network": "eip155:1"},
        {**SETTLED, "amount": "4999999"},
        {**SETTLED, "transaction": ""},
        {**SETTLED, "transaction": TRANSACTION[:-1]},
        {**SETTLED, "success": False},
        {**SETTLED, "success": False, "transaction": "", "errorReason": "settlement_pending"},
        {**SETTLED, "success": False, "transaction": "", "errorReason": "unexpected_settle_error"},
    ],
)
def test_what_does_not_say_whether_it_was_paid(said: object) -> None:
    with pytest.raises(FacilitatorSilent):
        facilitator(Said(said)).settle(*GIVEN)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ("insufficient_funds", "insufficient_funds"),
        ("a" * 80, "a" * 80),
        ("a" * 81, REFUSED),
        ("No funds.", REFUSED),
        ("a\n", REFUSED),
        ("", REFUSED),
        (None, REFUSED),
    ],
)
def test_why_something_was_refused_is_a_code(reason: str | None, code: str) -> None:
    asked = facilitator(Said({"isValid": False, "invalidReason": reason}))
    with pytest.raises(PaymentRefused) as refused:
        asked.verify(*GIVEN)
    assert refused.value.code == code
    no = {"success": False, "transaction": "", "network": NETWORK, "errorReason": reason}
    with pytest.raises(PaymentRefused) as refused:
        facilitator(Said(no)).settle(*GIVEN)
    assert refused.value.code == code


def test_an_answer_of_the_largest_size_is_read_and_no_larger_one() -> None:
    said = Said(SETTLED)
    said.pieces += [b" "] * (MAX_ANSWER_BYTES - len(said.pieces[0]))
    assert facilitator(said).settle(*GIVEN) == TRANSACTION.lower()
    said.pieces.append(b" ")
    with pytest.raises(FacilitatorSilent):
        facilitator(said).settle(*GIVEN)


def test_an_answer_that_is_nested_too_deep_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(_: httpx.Response) -> object:
        raise RecursionError  # as 1,000 brackets do, where no test runner raised the limit

    monkeypatch.setattr(httpx.Response, "json", too_deep)
    with pytest.raises(FacilitatorSilent):
        facilitator(Said(b"[" * 60_000)).settle(*GIVEN)


def test_an_answer_in_drops_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(1000))
    module = sys.modules[Facilitator.__module__]
    monkeypatch.setattr(module, "time", type("T", (), {"monotonic": lambda: next(now)}))
    said = Said(b"")
    said.pieces = [b" "] * 100
    with pytest.raises(FacilitatorSilent):
        facilitator(said).settle(*GIVEN)
    assert next(now) == int(SETTLE_SECONDS) + 2


def test_what_is_encoded_is_not_decoded() -> None:
    said = Said(SETTLED, headers={"Content-Encoding": "gzip"})
    with pytest.raises(FacilitatorSilent):
        facilitator(said).settle(*GIVEN)


def test_the_fields_are_as_the_package_reads_them() -> None:
    text = payment_required_field(TERMS, "https://i.example/a", "100 units", "a_code")
    asked = decode_payment_required_header(text)
    assert isinstance(asked, PaymentRequired)
    assert (asked.x402_version, asked.error) == (2, "a_code")
    assert [each.model_dump(by_alias=True) for each in asked.accepts] == [TERMS.members]
    settled = decode_payment_response_header(payment_response_field(NETWORK, TRANSACTION))
    assert (settled.success, settled.network, settled.transaction) == (True, NETWORK, TRANSACTION)

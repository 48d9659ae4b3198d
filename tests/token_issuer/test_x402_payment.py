"""Payments as fields carry them: names that are the chain's, and what is handed on."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from x402.schemas.payments import PaymentPayload, PaymentRequirements

from protocol.errors import MalformedMessage
from tests.support.stand_in_facilitator import ASSET, NAME, NETWORK, PAY_TO, Payer, PayerScheme
from tests.support.stand_in_facilitator import ASSET_VERSION as VERSION
from token_issuer.x402_payment import (
    LEAST_SECONDS,
    TOO_EARLY,
    TOO_LATE,
    VALID_SECONDS,
    PaymentRefused,
    Terms,
    read_payment,
)

NOW = 1_765_000_000
TERMS = Terms(NETWORK, ASSET, NAME, VERSION, PAY_TO, 5_000_000)
FROM = "0x857b06519E91e3A54538791bDbb0E22373e36b66"

# As the specification of the HTTP transport prints it, with terms and times of ours.
DOCUMENT: dict[str, Any] = {
    "x402Version": 2,
    "resource": {"url": "https://api.example.com/premium-data"},
    "accepted": TERMS.members,
    "payload": {
        "signature": "0x" + "2d" * 65,
        "authorization": {
            "from": FROM,
            "to": PAY_TO,
            "value": "5000000",
            "validAfter": str(NOW),
            "validBefore": str(NOW + 60),
            "nonce": "0xf3746613c2d920b5fdabc0856f2aeb2d4f88ee6037b8cc5d04a71a4462f13480",
        },
    },
}


def field(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def ordered(**changes: str) -> dict[str, Any]:
    payload = DOCUMENT["payload"]
    order = {**payload["authorization"], **changes}
    return {**DOCUMENT, "payload": {**payload, "authorization": order}}


def test_what_is_handed_on_is_what_was_read() -> None:
    payment = read_payment(field(DOCUMENT), TERMS, NOW)
    assert payment.ends == NOW + 60
    handed = json.loads(payment.document)
    assert handed == {name: DOCUMENT[name] for name in ("x402Version", "accepted", "payload")}
    assert PaymentPayload.model_validate(handed).accepted == PaymentRequirements.model_validate(
        TERMS.members
    )
    assert FROM not in repr(payment)


def test_what_the_packages_client_makes_is_read() -> None:
    terms = PaymentRequirements.model_validate(TERMS.members)
    payer = Payer()
    inner = PayerScheme(payer.wallet, lambda: NOW).create_payment_payload(terms)
    payload = PaymentPayload(payload=inner, accepted=terms)
    text = payload.model_dump_json(by_alias=True, exclude_none=True)
    payment = read_payment(base64.b64encode(text.encode()).decode(), TERMS, NOW)
    assert payment.ends == NOW + VALID_SECONDS


def test_a_payment_is_named_after_what_the_chain_takes_once() -> None:
    name = read_payment(field(DOCUMENT), TERMS, NOW).reference
    assert len(name) == 64
    nonce = DOCUMENT["payload"]["authorization"]["nonce"]
    alike = ordered(**{"from": FROM.lower(), "nonce": "0x" + nonce[2:].upper()})
    alike["payload"]["signature"] = "0x" + "3e" * 65
    assert read_payment(field(alike), TERMS, NOW).reference == name
    assert read_payment(field(ordered(validBefore=str(NOW + 99))), TERMS, NOW).reference == name
    others = [
        ordered(nonce="0x" + "0" * 64),
        ordered(**{"from": PAY_TO}),
    ]
    for other in others:
        assert read_payment(field(other), TERMS, NOW).reference != name
    for change in ({"network": "eip155:8453"}, {"asset": PAY_TO}):
        members = {**TERMS.members, **change}
        terms = Terms(members["network"], members["asset"], NAME, VERSION, PAY_TO, TERMS.amount)
        other = {**DOCUMENT, "accepted": terms.members}
        assert read_payment(field(other), terms, NOW).reference != name


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"validBefore": str(NOW + LEAST_SECONDS)}, None),
        ({"validBefore": str(NOW + LEAST_SECONDS - 1)}, TOO_LATE),
        ({"validBefore": str(NOW + 2 * VALID_SECONDS)}, None),
        ({"validBefore": str(NOW + 2 * VALID_SECONDS + 1)}, TOO_LATE),
        ({"validBefore": "0"}, TOO_LATE),
        ({"validAfter": "0"}, None),
        ({"validAfter": str(NOW + 1)}, TOO_EARLY),
    ],
)
def test_times_to_the_second(changes: dict[str, str], code: str | None) -> None:
    if code is None:
        read_payment(field(ordered(**changes)), TERMS, NOW)
        return
    with pytest.raises(PaymentRefused) as refused:
        read_payment(field(ordered(**changes)), TERMS, NOW)
    assert refused.value.code == code


@pytest.mark.parametrize("between", ["*", " ", "\n"])
def test_base64_with_something_between_is_none(between: str) -> None:
    text = field(DOCUMENT)
    with pytest.raises(MalformedMessage):
        read_payment(text[:8] + between + text[8:], TERMS, NOW)


def test_more_than_was_asked_may_be_accepted_and_is_not_handed_on() -> None:
    extra = {**TERMS.members["extra"], "more": 1}
    document = {**DOCUMENT, "accepted": {**TERMS.members, "extra": extra}}
    handed = json.loads(read_payment(field(document), TERMS, NOW).document)
    assert handed["accepted"] == TERMS.members


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(MalformedMessage):
        read_payment(text, TERMS, NOW)


_VALUES: st.SearchStrategy[object] = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=80) | st.just([{}])
)


@given(st.sampled_from(["accepted", "payload", "x402Version"]), _VALUES)
def test_any_value_in_any_place_is_read_or_refused(name: str, value: object) -> None:
    if name == "x402Version" and value == 2:
        return
    with pytest.raises((MalformedMessage, PaymentRefused)):
        read_payment(field({**DOCUMENT, name: value}), TERMS, NOW)


@given(st.sampled_from(sorted(DOCUMENT["payload"]["authorization"])), _VALUES)
def test_any_value_in_an_order_is_read_or_refused(name: str, value: object) -> None:
    document = ordered(**{name: value})  # type: ignore[arg-type]
    try:
        payment = read_payment(field(document), TERMS, NOW)
    except (MalformedMessage, PaymentRefused):
        return
    assert json.loads(payment.document)["payload"]["authorization"][name] == value

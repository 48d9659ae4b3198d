"""Payments by x402: the package's own client pays, and a stand-in facilitator settles over HTTP."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from werkzeug.test import TestResponse
from x402.http.utils import decode_payment_required_header, decode_payment_response_header
from x402.schemas.payments import PaymentRequired

from tests.support.issuing import NOW, Clock, Shop
from tests.support.stand_in_facilitator import (
    ASSET,
    NAME,
    NETWORK,
    PAY_TO,
    Payer,
    StandInFacilitator,
    running_facilitator,
    signed,
)
from tests.support.stand_in_facilitator import ASSET_VERSION as VERSION
from token_issuer.account_secret import new_secret, secret_digest
from token_issuer.administration import (
    all_accounts,
    disable,
    discrepancies,
    last_lines,
    open_account,
    outstanding,
)
from token_issuer.intent import HOLD_SECONDS, Intent
from token_issuer.intents import Intents
from token_issuer.ledger import MAX_AMOUNT
from token_issuer.log import Log
from token_issuer.settings import X402Settings
from token_issuer.x402_desk import Desk
from token_issuer.x402_facilitator import MAX_ANSWER_BYTES, Facilitator
from token_issuer.x402_payment import MAX_PAYMENT_CHARACTERS

UNIT = 50_000
PACK = 100


def settings(url: str) -> X402Settings:
    return X402Settings(
        facilitator=url,
        issuer_url="https://issuer.example",
        network=NETWORK,
        asset=ASSET,
        asset_name=NAME,
        asset_version=VERSION,
        pay_to=PAY_TO,
        amount_per_unit=UNIT,
        packs=(PACK, 500),
    )


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def facilitator(clock: Clock) -> Iterator[StandInFacilitator]:
    with running_facilitator(clock=clock) as running:
        yield running


@pytest.fixture
def desk(shop: Shop, facilitator: StandInFacilitator, clock: Clock) -> Desk:
    asked = Facilitator(facilitator.url)
    made = Desk(
        settings(facilitator.url),
        shop.ledger,
        asked,
        at_once=8,
        log=Log(clock=clock),
        clock=clock,
    )
    shop.clock = clock
    shop.more["desk"] = made
    return made


@pytest.fixture
def buyer(desk: Desk, shop: Shop, facilitator: StandInFacilitator, clock: Clock) -> "Buyer":
    payer = Payer(clock)
    facilitator.fund(payer, 10 * PACK * UNIT)
    return Buyer(shop, payer)


class Buyer:
    """Somebody with a wallet, and a voucher of their own making."""

    def __init__(self, shop: Shop, payer: Payer) -> None:
        self.shop, self.payer, self.secret = shop, payer, new_secret()

    def send(
        self, fields: dict[str, str] | None = None, pack: object = PACK, secret: str | None = None
    ) -> TestResponse:
        headers = {"Authorization": f"Bearer {secret or self.secret}", **(fields or {})}
        return self.shop.client.post(f"/payments/x402/{pack}", headers=headers)

    def sign(self, **changes: str) -> dict[str, str]:
        """Return the fields of a payment, with some of what is signed changed."""
        asked = self.send()
        assert asked.status_code == 402, asked.data
        fields, payload = self.payer.pay(dict(asked.headers))
        if not changes:
            return fields
        document = payload.model_dump(by_alias=True, exclude_none=True)
        order = {**document["payload"]["authorization"], **changes}
        return encoded({**document, "payload": signed(self.payer.wallet, order)})

    @property
    def balance(self) -> int:
        account = self.shop.ledger.find(secret_digest(self.secret), int(NOW))
        return 0 if account is None else account.balance


def encoded(document: Any) -> dict[str, str]:
    octets = document if isinstance(document, bytes) else json.dumps(document).encode()
    return {"PAYMENT-SIGNATURE": base64.b64encode(octets).decode()}


def decoded(fields: dict[str, str]) -> dict[str, Any]:
    members: dict[str, Any] = json.loads(base64.b64decode(fields["PAYMENT-SIGNATURE"]))
    return members


def why(answer: TestResponse) -> str | None:
    """Return the code of an answer that asks for a payment."""
    assert answer.status_code == 402, (answer.status_code, answer.data)
    asked = decode_payment_required_header(answer.headers["PAYMENT-REQUIRED"])
    assert isinstance(asked, PaymentRequired)
    return asked.error


def check(buyer: Buyer, facilitator: StandInFacilitator, packs: int) -> None:
    """Hold the ledger against the chain."""
    assert buyer.balance == packs * PACK
    assert facilitator.received == packs * PACK * UNIT
    assert discrepancies(buyer.shop.ledger) == []


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """Return what the log has told of payments since the last look, without requests and times."""
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    return [
        {name: value for name, value in line.items() if name != "time"}
        for line in lines
        if line["event"] != "request"
    ]


# Paying -------------------------------------------------------------------------------------


def test_what_is_asked_is_as_the_package_reads_it(buyer: Buyer) -> None:
    answer = buyer.shop.client.post(f"/payments/x402/{PACK}")
    assert answer.status_code == 402
    assert answer.headers["Cache-Control"] == "no-store"
    asked = decode_payment_required_header(answer.headers["PAYMENT-REQUIRED"])
    assert isinstance(asked, PaymentRequired)
    (terms,) = asked.accepts
    assert (terms.scheme, terms.network, terms.asset, terms.pay_to) == (
        "exact",
        NETWORK,
        ASSET,
        PAY_TO,
    )
    assert terms.amount == str(PACK * UNIT)
    assert terms.extra == {"name": NAME, "version": VERSION, "assetTransferMethod": "eip3009"}
    assert asked.resource is not None
    assert asked.resource.url == f"https://issuer.example/payments/x402/{PACK}"
    assert asked.error is None


def test_a_voucher_of_the_buyers_own_is_paid_for(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    answer = buyer.send(buyer.sign())
    assert answer.status_code == 200, answer.data
    account = buyer.shop.ledger.find(secret_digest(buyer.secret), int(NOW))
    assert account is not None
    assert json.loads(answer.data) == {"account": account.number, "units": PACK}
    assert account.name == "x402"
    settled = decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"])
    assert (settled.success, settled.network) == (True, NETWORK)
    assert settled.transaction in facilitator.used.values()
    (line,) = last_lines(buyer.shop.ledger, account.number, 9)
    assert (line.entry.kind, line.entry.amount) == ("x402", PACK)
    assert buyer.shop.balance(buyer.secret) == PACK
    check(buyer, facilitator, 1)


def test_an_account_that_is_there_is_topped_up_again_and_again(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    number, buyer.secret = open_account(buyer.shop.ledger, int(NOW))
    for packs in (1, 2):
        answer = buyer.send(buyer.sign())
        assert json.loads(answer.data)["account"] == number
        check(buyer, facilitator, packs)


def test_the_facilitator_is_told_of_the_payment_and_of_no_voucher(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    document = decoded(buyer.sign())
    document["resource"] = {"url": "https://issuer.example/?who=me"}
    document["extensions"] = {"x": {}}
    assert buyer.send(encoded(document)).status_code == 200
    for what, members in facilitator.asked:
        assert what in ("verify", "settle")
        assert members.keys() == {"x402Version", "paymentPayload", "paymentRequirements"}
        assert members["paymentPayload"].keys() == {"x402Version", "payload", "accepted"}
        assert buyer.secret not in json.dumps(members)


def test_the_same_payment_again_is_answered_alike_and_counts_once(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    fields = buyer.sign()
    first, again = buyer.send(fields), buyer.send(fields)
    assert (first.status_code, first.data) == (again.status_code, again.data)
    assert first.headers["PAYMENT-RESPONSE"] == again.headers["PAYMENT-RESPONSE"]
    assert facilitator.count("settle") == 1
    document = decoded(fields)
    order = document["payload"]["authorization"]
    order["from"] = order["from"].lower()
    order["nonce"] = order["nonce"].upper().replace("X", "x")
    assert buyer.send(encoded(document)).data == first.data
    check(buyer, facilitator, 1)


def test_a_payment_is_of_the_account_that_presented_it_first(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    fields = buyer.sign()
    assert buyer.send(fields).status_code == 200
    thief = new_secret()
    assert buyer.send(fields, secret=thief).status_code == 409
    assert not buyer.shop.ledger.knows(secret_digest(thief))
    check(buyer, facilitator, 1)


def test_eight_times_at_once_the_same_payment_counts_once(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    fields = buyer.sign()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: buyer.send(fields), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert buyer.send(fields).status_code == 200
    assert facilitator.count("settle") == 1
    check(buyer, facilitator, 1)


def test_payments_of_one_new_voucher_at_once_all_count(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    payments = [buyer.sign() for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(buyer.send, payments))
    assert {answer.status_code for answer in answers} == {200}
    assert len(all_accounts(buyer.shop.ledger, int(NOW))) == 1
    check(buyer, facilitator, 4)


def test_too_many_at_once_are_told_to_come_back(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    desk._intents = Intents(buyer.shop.ledger, 1)
    first, second = buyer.sign(), buyer.sign()
    reached, go_on = threading.Event(), threading.Event()

    def wait(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        reached.set()
        go_on.wait()
        return here.verify(members)

    facilitator.script["verify"] = [wait]
    with ThreadPoolExecutor(1) as pool:
        paying = pool.submit(buyer.send, first)
        reached.wait()
        answer = buyer.send(second)
        same = buyer.send(first)
        go_on.set()
        assert paying.result().status_code == 200
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert (same.status_code, same.headers["Retry-After"]) == (503, str(HOLD_SECONDS))
    assert buyer.send(second).status_code == 200
    check(buyer, facilitator, 2)


# What is refused ----------------------------------------------------------------------------


def changed(document: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(document))
    *parents, last = path.split(".")
    place = copy
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("x402Version", 1),
        ("x402Version", None),
        ("accepted", None),
        ("accepted", []),
        ("accepted.extra", None),
        ("payload", "x"),
        ("payload.signature", None),
        ("payload.signature", "0x00"),
        ("payload.signature", "0x" + "0g" * 65),
        ("payload.authorization", None),
        ("payload.authorization.from", "0x1"),
        ("payload.authorization.to", 5),
        ("payload.authorization.value", 5_000_000),
        ("payload.authorization.value", "-1"),
        ("payload.authorization.value", "05000000"),
        ("payload.authorization.value", "\N{SUPERSCRIPT TWO}"),
        ("payload.authorization.validBefore", None),
        ("payload.authorization.validBefore", "1e9"),
        ("payload.authorization.nonce", "0x00"),
        ("payload.permit2Authorization", {}),
    ],
)
def test_400_for_what_is_no_payment(
    buyer: Buyer, facilitator: StandInFacilitator, path: str, value: object
) -> None:
    document = changed(decoded(buyer.sign()), path, value)
    if path == "payload.permit2Authorization":
        document = changed(document, "payload.authorization", None)
    assert buyer.send(encoded(document)).status_code == 400
    assert facilitator.asked == []
    check(buyer, facilitator, 0)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "!",
        "e30",
        "e30=\n",
        base64.b64encode(b"{}").decode(),
        base64.b64encode(b"[]").decode(),
        base64.b64encode(b'{"x402Version":2,"x402Version":2}').decode(),
        base64.b64encode(b"\xff").decode(),
        base64.b64encode(b"{" * 3000).decode(),
    ],
)
def test_400_for_fields_that_are_none(
    buyer: Buyer, facilitator: StandInFacilitator, field: str
) -> None:
    answer = buyer.send({"PAYMENT-SIGNATURE": field.replace("\n", "")})
    assert answer.status_code == 400
    assert facilitator.asked == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("accepted.scheme", "upto"),
        ("accepted.network", "eip155:1"),
        ("accepted.asset", PAY_TO),
        ("accepted.amount", "1"),
        ("accepted.payTo", ASSET),
        ("accepted.maxTimeoutSeconds", 60),
        ("accepted.extra", {"name": NAME}),
        ("accepted.extra", {"name": "Other", "version": VERSION, "assetTransferMethod": "eip3009"}),
    ],
)
def test_402_for_other_terms(
    buyer: Buyer, facilitator: StandInFacilitator, path: str, value: object
) -> None:
    answer = buyer.send(encoded(changed(decoded(buyer.sign()), path, value)))
    assert why(answer) == "invalid_payment_requirements"
    assert facilitator.asked == []
    check(buyer, facilitator, 0)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"value": "1"}, "invalid_exact_evm_payload_authorization_value_mismatch"),
        ({"to": ASSET}, "invalid_exact_evm_payload_recipient_mismatch"),
        ({"validBefore": str(int(NOW))}, "invalid_exact_evm_payload_authorization_valid_before"),
        ({"validBefore": "9" * 77}, "invalid_exact_evm_payload_authorization_valid_before"),
        (
            {"validAfter": str(int(NOW) + 100)},
            "invalid_exact_evm_payload_authorization_valid_after",
        ),
    ],
)
def test_402_for_what_is_signed_for_another_amount_recipient_or_time(
    buyer: Buyer, facilitator: StandInFacilitator, changes: dict[str, str], code: str
) -> None:
    assert why(buyer.send(buyer.sign(**changes))) == code
    assert facilitator.asked == []
    check(buyer, facilitator, 0)


def test_a_payment_for_one_pack_buys_no_other(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    fields = buyer.sign()
    assert why(buyer.send(fields, pack=500)) == "invalid_payment_requirements"
    assert buyer.send(fields).status_code == 200
    assert why(buyer.send(fields, pack=500)) == "invalid_payment_requirements"
    check(buyer, facilitator, 1)


def test_what_another_has_signed_is_refused_and_forgotten(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    document = decoded(buyer.sign())
    order = document["payload"]["authorization"]
    document["payload"] = signed(Payer().wallet, order)
    code = "invalid_exact_evm_payload_signature"
    assert why(buyer.send(encoded(document))) == code
    assert told(capsys) == [{"event": "payment_refused", "what": code}]
    assert desk._intents.listed() == []
    assert facilitator.count("settle") == 0
    check(buyer, facilitator, 0)


def test_who_has_too_little_is_told_and_may_try_the_same_again(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    facilitator.fund(buyer.payer, PACK * UNIT - 1)
    fields = buyer.sign()
    assert why(buyer.send(fields)) == "insufficient_funds"
    facilitator.fund(buyer.payer, PACK * UNIT)
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


def test_what_is_gone_between_looking_and_settling_is_refused_and_may_come_again(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    fields = buyer.sign()

    def spend(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        here.fund(buyer.payer, 0)
        return here.settle(members)

    facilitator.script["settle"] = [spend]
    assert why(buyer.send(fields)) == "insufficient_funds"
    (left,) = desk._intents.listed()
    assert (left.state, left.in_doubt) == ("refused", False)
    facilitator.fund(buyer.payer, PACK * UNIT)
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


def test_a_sentence_of_the_facilitator_is_not_passed_on(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    reason = "Call +1 555 0100 \r\nSet-Cookie: a"
    facilitator.script["verify"] = [lambda *_: {"isValid": False, "invalidReason": reason}]
    assert why(buyer.send(buyer.sign())) == "payment_refused"


def test_401_without_a_voucher_or_with_one_that_was_not_drawn(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    fields = buyer.sign()
    for value in ("", "Bearer", "Bearer OBL-1", "Bearer OBL-" + "A" * 26, f"Basic {buyer.secret}"):
        for more in ({}, fields):
            headers = {"Authorization": value, **more}
            answer = buyer.shop.client.post(f"/payments/x402/{PACK}", headers=headers)
            assert answer.status_code == 401, value
    answer = buyer.shop.client.post(f"/payments/x402/{PACK}", headers=fields)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert facilitator.asked == []


def test_401_for_an_account_that_may_not_spend(
    buyer: Buyer, facilitator: StandInFacilitator
) -> None:
    number, buyer.secret = open_account(buyer.shop.ledger, int(NOW))
    fields = buyer.sign()
    disable(buyer.shop.ledger, number, disabled=True)
    assert buyer.send().status_code == buyer.send(fields).status_code == 401
    assert facilitator.asked == []


def test_422_for_more_than_a_balance_holds(buyer: Buyer, facilitator: StandInFacilitator) -> None:
    _, buyer.secret = open_account(buyer.shop.ledger, int(NOW), units=MAX_AMOUNT - PACK + 1)
    assert buyer.send(buyer.sign()).status_code == 422
    assert facilitator.asked == []


def test_404_for_packs_that_are_not_sold(buyer: Buyer) -> None:
    for pack in ("1", "0100", "-100", "9" * 3000, "100.0", "\N{FULLWIDTH DIGIT ONE}00"):
        assert buyer.send(pack=pack).status_code == 404
    assert buyer.shop.client.get(f"/payments/x402/{PACK}").status_code == 405


def test_431_for_a_field_that_is_too_large(buyer: Buyer, facilitator: StandInFacilitator) -> None:
    for size, status in ((MAX_PAYMENT_CHARACTERS, 400), (MAX_PAYMENT_CHARACTERS + 1, 431)):
        assert buyer.send({"PAYMENT-SIGNATURE": "A" * size}).status_code == status
    assert facilitator.asked == []


def test_404_where_nobody_is_paid_by_x402(shop: Shop) -> None:
    assert shop.client.post(f"/payments/x402/{PACK}").status_code == 404


# Facilitators that fail ---------------------------------------------------------------------

Break = Callable[[StandInFacilitator, dict[str, Any]], Any]


def hung_up(_: StandInFacilitator, __: dict[str, Any]) -> None:
    return None


def late(here: StandInFacilitator, members: dict[str, Any]) -> None:
    """Settle, and hang up without a word."""
    here.settle(members)


def but(**changes: object) -> Break:
    """Return what settles, and says something else."""

    def settle(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        return {**here.settle(members), **changes}

    return settle


def says(octets: bytes) -> Break:
    return lambda *_: octets


OVERLONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MAX_ANSWER_BYTES + 1)
SILENT: dict[str, Break] = {
    "hangs up": hung_up,
    "no HTTP": says(b"HTTP/9.9 what\r\n\r\n"),
    "an error": says(b"HTTP/1.1 500 Sorry\r\nContent-Length: 0\r\n\r\n"),
    "another place": says(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "no JSON": says(b"<html>"),
    "no object": says(b"[]"),
    "nothing": says(b"{}"),
    "too long": says(OVERLONG + b" " * (MAX_ANSWER_BYTES + 1)),
    "encoded": says(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"),
    "cut": says(b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{"),
}


@pytest.mark.parametrize("case", SILENT)
def test_503_while_the_facilitator_does_not_verify_and_nothing_is_kept(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, case: str
) -> None:
    fields = buyer.sign()
    facilitator.script["verify"] = [SILENT[case]]
    answer = buyer.send(fields)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert desk._intents.listed() == []
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


def test_503_for_a_facilitator_that_is_not_there(buyer: Buyer, desk: Desk) -> None:
    fields = buyer.sign()
    desk._facilitator = Facilitator("http://127.0.0.1:1")
    assert buyer.send(fields).status_code == 503
    assert desk._intents.listed() == []


BEFORE = {
    **SILENT,
    "not yet": lambda *_: {
        "success": False,
        "errorReason": "settlement_pending",
        "transaction": "0x" + "1" * 64,
        "network": NETWORK,
    },
}
AFTER: dict[str, Break] = {
    "hangs up": late,
    "another network": but(network="eip155:1"),
    "another amount": but(amount="1"),
    "no transaction": but(transaction=""),
    "something else": but(transaction="0x1"),
    "success that is none": but(success="maybe"),
}


@pytest.mark.parametrize("case", BEFORE)
def test_what_was_not_settled_is_settled_by_the_next_who_asks(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, case: str
) -> None:
    fields = buyer.sign()
    facilitator.script["settle"] = [BEFORE[case]]
    answer = buyer.send(fields)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    check(buyer, facilitator, 0)
    # The package's client asks without its payment, and would sign another.
    again = buyer.send()
    assert (again.status_code, json.loads(again.data)["units"]) == (200, PACK)
    check(buyer, facilitator, 1)
    assert buyer.send(fields).data == again.data
    assert why(buyer.send()) is None
    check(buyer, facilitator, 1)


@pytest.mark.parametrize("case", AFTER)
def test_what_may_have_been_settled_is_never_asked_for_twice(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, case: str
) -> None:
    fields = buyer.sign()
    facilitator.script["settle"] = [AFTER[case]]
    assert buyer.send(fields).status_code == 503
    # The chain has taken it, so the facilitator refuses it now: for a person to look at.
    for sent in (None, fields, None):
        assert buyer.send(sent).status_code == 409
    (left,) = desk._intents.listed()
    assert (left.state, left.in_doubt, left.is_decided) == ("unclear", True, False)
    (transaction,) = facilitator.used.values()
    desk._intents.credit(left.reference, transaction, NOW)
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


def test_a_facilitator_that_remembers_credits_what_it_settled(
    buyer: Buyer, facilitator: StandInFacilitator, capsys: pytest.CaptureFixture[str]
) -> None:
    def remembered(here: StandInFacilitator, _: dict[str, Any]) -> dict[str, Any]:
        (transaction,) = here.used.values()
        return {"success": True, "transaction": transaction, "network": NETWORK}

    fields = buyer.sign()
    facilitator.script["settle"] = [late, remembered]
    assert buyer.send(fields).status_code == 503
    assert told(capsys) == [{"event": "payment_in_doubt"}]
    answer = buyer.send(fields)
    assert answer.status_code == 200
    (account,) = all_accounts(buyer.shop.ledger, int(NOW))
    assert told(capsys) == [{"event": "credited", "account": account.number, "units": PACK}]
    check(buyer, facilitator, 1)


def test_what_was_refused_and_is_taken_by_the_chain_afterwards_is_unclear(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    def refused_and_settled(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        here.settle(members)
        return {"success": False, "transaction": "", "network": NETWORK, "errorReason": "a_fault"}

    fields = buyer.sign()
    facilitator.script["settle"] = [refused_and_settled]
    assert why(buyer.send(fields)) == "a_fault"
    for _ in range(2):
        assert buyer.send(fields).status_code == 409
    (left,) = desk._intents.listed()
    assert (left.state, left.is_decided) == ("unclear", False)
    (transaction,) = facilitator.used.values()
    desk._intents.credit(left.reference, transaction, NOW)
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


def test_what_was_refused_once_is_not_forgotten_when_it_is_refused_again(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    no = {"success": False, "transaction": "", "network": NETWORK, "errorReason": "a_fault"}
    fields = buyer.sign()
    facilitator.script["settle"] = [lambda *_: no]
    facilitator.script["verify"] = [StandInFacilitator.verify, lambda *_: {}, lambda *_: INVALID]
    assert why(buyer.send(fields)) == "a_fault"
    assert buyer.send(fields).status_code == 503
    assert why(buyer.send(fields)) == "a_reason"
    (left,) = desk._intents.listed()
    assert (left.state, left.in_doubt) == ("refused", False)
    assert buyer.send(fields).status_code == 200
    check(buyer, facilitator, 1)


INVALID = {"isValid": False, "invalidReason": "a_reason"}


def test_what_its_payer_withdrew_or_used_elsewhere_is_unclear_at_once(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = buyer.sign()

    def use(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        here.settle(members)
        return here.settle(members)

    facilitator.script["settle"] = [use]
    assert buyer.send(fields).status_code == 409
    (event,) = told(capsys)
    assert (event["event"], bool(event["what"])) == ("payment_unclear", True)
    (left,) = desk._intents.listed()
    assert left.state == "unclear"
    desk._intents.give_up(left.reference, NOW)
    assert why(buyer.send()) is None


def test_a_secret_for_the_facilitator_is_sent(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    fields = buyer.sign()
    facilitator.secret = "for-tests"
    assert buyer.send(fields).status_code == 503
    desk._facilitator = Facilitator(facilitator.url, "for-tests")
    assert buyer.send(fields).status_code == 200


# Our own crashes ----------------------------------------------------------------------------


class Crash(BaseException):
    """The process ends here."""


def crash(*_: object) -> None:
    raise Crash


@pytest.mark.parametrize("where", ["verify", "settle"])
def test_a_crash_before_the_facilitator_was_asked_loses_nothing(
    buyer: Buyer,
    facilitator: StandInFacilitator,
    desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    fields = buyer.sign()
    with monkeypatch.context() as patch:
        patch.setattr(Facilitator, where, crash)
        with pytest.raises(Crash):
            buyer.send(fields)
    assert buyer.send(fields).status_code == 503  # it may be at it still
    assert list(desk.reconcile()) == []
    buyer.shop.clock.now += HOLD_SECONDS
    ((reference, outcome),) = desk.reconcile()
    assert outcome == f"credited {PACK} units to account 1"
    assert desk._intents.listed()[0].reference == reference
    assert list(desk.reconcile()) == []
    check(buyer, facilitator, 1)


def test_a_crash_after_it_was_settled_is_never_paid_again(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = buyer.sign()
    with monkeypatch.context() as patch:
        patch.setattr(Intents, "credit", crash)
        with pytest.raises(Crash):
            buyer.send(fields)
    assert facilitator.received == PACK * UNIT
    assert outstanding(buyer.shop.ledger) == 0
    buyer.shop.clock.now += HOLD_SECONDS
    ((reference, outcome),) = desk.reconcile()
    assert outcome.startswith("unclear")
    assert list(desk.reconcile()) == []
    (transaction,) = facilitator.used.values()
    desk._intents.credit(reference, transaction, NOW)
    check(buyer, facilitator, 1)


def test_what_another_took_up_or_ended_meanwhile_is_left_to_it(
    buyer: Buyer, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Facilitator, "verify", crash)
        with pytest.raises(Crash):
            buyer.send(buyer.sign())
    held = [each.reference for each in desk._intents.listed()]
    monkeypatch.setattr(Intents, "abandoned", lambda *_: [*held, "ended"])  # a moment ago
    assert list(desk.reconcile()) == [(each, "somebody else is at it") for each in (*held, "ended")]


def test_what_is_over_and_was_never_sent_is_forgotten(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = buyer.sign()
    with monkeypatch.context() as patch:
        patch.setattr(Facilitator, "verify", crash)
        with pytest.raises(Crash):
            buyer.send(fields)
    buyer.shop.clock.now += 3600
    ((_, outcome),) = desk.reconcile()
    assert outcome == "not paid: invalid_exact_evm_payload_authorization_valid_before"
    assert desk._intents.listed() == []


def test_a_facilitator_that_stays_away_leaves_it_open(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    facilitator.script["settle"] = [hung_up, hung_up]
    assert buyer.send(buyer.sign()).status_code == 503
    ((_, outcome),) = desk.reconcile()
    assert outcome == "the facilitator does not say"
    ((_, outcome),) = desk.reconcile()
    assert outcome.startswith("credited")
    check(buyer, facilitator, 1)


def test_who_was_too_slow_credits_what_another_took_up_and_once(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    """One is slow to hear that it settled; meanwhile another asks, and hears that it is used."""
    fields = buyer.sign()

    def slow(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        answer = here.settle(members)
        buyer.shop.clock.now += HOLD_SECONDS
        assert buyer.send(fields).status_code == 409
        return answer

    facilitator.script["settle"] = [slow]
    assert buyer.send(fields).status_code == 200
    assert [each.state for each in desk._intents.listed()] == ["credited"]
    check(buyer, facilitator, 1)


def test_who_lost_its_hold_before_settling_does_not_settle(
    buyer: Buyer, facilitator: StandInFacilitator, desk: Desk
) -> None:
    fields = buyer.sign()

    def slow(here: StandInFacilitator, members: dict[str, Any]) -> dict[str, Any]:
        buyer.shop.clock.now += HOLD_SECONDS
        assert buyer.send(fields).status_code == 200
        return here.rightly("verify", members) | {"isValid": True}

    facilitator.script["verify"] = [slow]
    assert buyer.send(fields).status_code == 503
    assert facilitator.count("settle") == 1
    check(buyer, facilitator, 1)


def test_what_was_signed_is_not_kept(
    buyer: Buyer, desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = buyer.sign()
    seen: list[Intent] = []
    send = Intents.send

    def note(intents: Intents, intent: Intent) -> None:
        seen.append(intent)
        send(intents, intent)

    monkeypatch.setattr(Intents, "send", note)
    assert buyer.send(fields).status_code == 200
    address = buyer.payer.wallet.address
    assert address in seen[0].document
    assert address not in repr(seen[0])
    with desk._ledger.reading() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM intents").all()
    assert address.lower() not in str(rows).lower()
    told = capsys.readouterr().err
    assert address.lower() not in told.lower()
    assert buyer.secret not in told

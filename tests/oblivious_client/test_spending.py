"""Spending: what a question costs, and what each answer says of its token."""

import json
from pathlib import Path

import pytest

from oblivious_client.errors import (
    AnswerTruncated,
    ConnectionLost,
    NoConnection,
    NoToken,
    OuterRefusal,
    TokenRefused,
)
from oblivious_client.exchange import Upload
from oblivious_client.exits import Exit
from oblivious_client.spending import (
    ERROR_EVENT_BYTES,
    REMEMBERED_BODIES,
    RETRIES,
    Bill,
    Payment,
    Purse,
    StreamedPayment,
    is_paid,
)
from oblivious_client.wallet import RETURNING_SECONDS, SPREAD_SECONDS, Refusals, Wallet
from protocol.binary_http import ResponseHead
from protocol.token_fields import decode_authorization
from protocol.token_prices import PricePoint
from tests.support.wallets import C1, C4, C16, C64, CATALOGUE, Clock, counts, fill

CHAT = "/v1/chat/completions"
JSON = (b"content-type", b"application/json")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=clock)


def body(**changes: object) -> bytes:
    asked = {"model": "large", "messages": [{"role": "user", "content": "Hello"}]}
    return json.dumps(asked | changes).encode()


def bill_of(wallet: Wallet | None, content: bytes = b"", most: PricePoint | None = None) -> Bill:
    bill = Purse(wallet, most).bill(CATALOGUE, CHAT, content or body())
    assert bill is not None
    return bill


def payment_of(wallet: Wallet) -> Payment:
    fill(wallet, 1)
    return bill_of(wallet).hold()


def head(status: int, *fields: tuple[bytes, bytes]) -> ResponseHead:
    return ResponseHead(status, (JSON, *fields))


def error(code: str | None) -> bytes:
    return json.dumps({"error": {"code": code, "message": "m"}}).encode()


# What a question costs.


@pytest.mark.parametrize(
    ("changes", "prices"),
    [
        ({}, [C1, C4, C16, C64]),
        ({"max_tokens": 512}, [C1, C4, C16, C64]),
        ({"max_tokens": 513}, [C4, C16, C64]),
        ({"max_tokens": 512, "n": 4}, [C4, C16, C64]),
        ({"max_tokens": 512, "n": 5}, [C16, C64]),
        ({"max_tokens": 512 * 64}, [C64]),
    ],
)
def test_the_price_points_that_will_do(
    wallet: Wallet, changes: dict[str, object], prices: list[PricePoint]
) -> None:
    assert list(bill_of(wallet, body(**changes)).prices) == prices


@pytest.mark.parametrize(
    "content",
    [
        body(model="small"),  # free
        body(model="unknown"),  # the enclave says that there is none
        body(max_tokens=512 * 64 + 1),  # more than any token buys, which it says as well
        b"{",
        b'{"messages": []}',
        b'{"model": "large", "model": "small"}',
    ],
)
def test_what_costs_nothing_or_is_refused_anyway_is_not_paid_for(
    wallet: Wallet, content: bytes
) -> None:
    assert Purse(wallet).bill(CATALOGUE, CHAT, content) is None
    assert Purse(None).bill(CATALOGUE, CHAT, content) is None


@pytest.mark.parametrize(
    ("path", "paid"),
    [
        (b"/v1/chat/completions", True),
        (b"/v1/embeddings", True),
        (b"/v1/models", False),
        (b"/v1/messages/count_tokens", False),
        (b"/v1/caf\xe9", False),
    ],
)
def test_the_paths_that_may_cost_something(path: bytes, paid: bool) -> None:
    assert is_paid(path) is paid


def test_without_a_wallet_a_question_that_costs_something_is_not_sent() -> None:
    with pytest.raises(NoToken, match="large costs a token of c1, and no wallet") as caught:
        Purse(None).bill(CATALOGUE, CHAT, body())
    assert caught.value.code is Exit.NO_TOKEN


def test_a_question_above_the_dearest_that_is_allowed_is_not_sent(wallet: Wallet) -> None:
    assert list(bill_of(wallet, most=C4).prices) == [C1, C4]
    with pytest.raises(NoToken, match="costs a token of c16, and --max-price is c4"):
        Purse(wallet, C4).bill(CATALOGUE, CHAT, body(max_tokens=512 * 16))


def test_without_a_token_the_command_that_buys_one_is_told(wallet: Wallet) -> None:
    with pytest.raises(NoToken, match="no token of c4 or dearer") as caught:
        bill_of(wallet, body(max_tokens=513)).hold()
    own = f"--wallet {wallet.file.path}"
    assert caught.value.advice == f"buy some: oblivious-client tokens buy --price c4 {own}"
    purse = Purse(wallet, where=("--relay", "https://relay.example"))
    bill = purse.bill(CATALOGUE, CHAT, body(max_tokens=513))
    assert bill is not None
    with pytest.raises(NoToken) as elsewhere:
        bill.hold()
    assert elsewhere.value.advice.endswith(f"--price c4 --relay https://relay.example {own}")


def test_the_field_that_pays_holds_the_token(wallet: Wallet) -> None:
    (token,) = fill(wallet, 1)
    payment = bill_of(wallet).hold()
    assert decode_authorization([payment.authorization]) == token
    assert b'"' not in payment.authorization
    assert token.nonce.hex() not in repr(payment)


# What a sealed answer says of a token: (0, 0, 0, 1) are ready, aside, held and unknown.


@pytest.mark.parametrize(
    ("answer", "content", "found", "again"),
    [
        (head(200), b"{}", (0, 0, 0, 0), False),
        (head(200, (b"privatetoken-status", b"spent")), b"{}", (0, 0, 0, 0), False),
        (head(502, (b"privatetoken-status", b"spent")), b"{}", (0, 0, 0, 0), False),
        (head(502, (b"privatetoken-status", b"returned")), b"{}", (0, 1, 0, 0), False),
        (head(400, (b"privatetoken-status", b"returned")), b"{}", (0, 1, 0, 0), False),
        (head(401), error("token_spent"), (0, 0, 0, 0), True),
        (head(401), error("token_invalid"), (0, 0, 0, 0), True),
        (head(401), error("token_expired"), (0, 0, 0, 0), True),
        (head(409), error("token_in_use"), (0, 0, 0, 1), True),
        (head(402), error("token_too_small"), (0, 1, 0, 0), False),
        (head(400), error("budget_exceeded"), (0, 1, 0, 0), False),
        (head(404), error("model_not_found"), (0, 1, 0, 0), False),
        (head(503), error("token_store_unavailable"), (0, 0, 0, 1), False),
        (head(502), error(None), (0, 0, 0, 1), False),
        (head(299), b"", (0, 0, 0, 0), False),
        (head(300), b"", (0, 0, 0, 1), False),
        (head(399), b"", (0, 0, 0, 1), False),
        (head(499), b"", (0, 1, 0, 0), False),
        (head(500), b"", (0, 0, 0, 1), False),
    ],
)
def test_an_answer_settles_its_token(
    wallet: Wallet,
    answer: ResponseHead,
    content: bytes,
    found: tuple[int, int, int, int],
    again: bool,
) -> None:
    assert payment_of(wallet).read(answer, content, Upload(begun=True, copies=1)) is again
    assert counts(wallet) == found


@pytest.mark.parametrize(
    ("status", "found"), [(400, (0, 1, 0, 0)), (503, (0, 1, 0, 0)), (409, (0, 0, 0, 1))]
)
def test_a_problem_of_before_the_request_was_read_takes_no_token_and_no_other_is_tried(
    wallet: Wallet, status: int, found: tuple[int, int, int, int]
) -> None:
    answer = ResponseHead(status, ((b"content-type", b"application/problem+json"),))
    assert not payment_of(wallet).read(answer, b"{}", Upload(begun=True, copies=1))
    assert counts(wallet) == found


@pytest.mark.parametrize(
    ("failure", "begun", "found"),
    [
        (NoConnection("m", advice=""), False, (1, 0, 0, 0)),
        (ConnectionLost("m", advice=""), False, (1, 0, 0, 0)),
        (ConnectionLost("m", advice=""), True, (0, 0, 0, 1)),
        (AnswerTruncated(), True, (0, 0, 0, 1)),
        (KeyboardInterrupt(), True, (0, 0, 0, 1)),
        (OuterRefusal("m", status=400, advice=""), True, (0, 1, 0, 0)),
        (OuterRefusal("m", status=422, advice=""), True, (0, 1, 0, 0)),
        (OuterRefusal("m", status=499, advice=""), True, (0, 1, 0, 0)),
        (OuterRefusal("m", status=500, advice=""), True, (0, 0, 0, 1)),
        (OuterRefusal("m", status=399, advice=""), True, (0, 0, 0, 1)),
        (OuterRefusal("m", status=503, advice=""), True, (0, 1, 0, 0)),
        (OuterRefusal("m", status=502, advice=""), True, (0, 0, 0, 1)),
        (OuterRefusal("m", status=504, advice=""), True, (0, 0, 0, 1)),
        (OuterRefusal("m", status=200, advice=""), True, (0, 0, 0, 1)),
    ],
)
def test_no_answer_settles_it_as_well(
    wallet: Wallet, failure: BaseException, begun: bool, found: tuple[int, int, int, int]
) -> None:
    payment_of(wallet).fail(failure, Upload(begun=begun))
    assert counts(wallet) == found


# Refusals, and other tokens after them.


def refuse(payment: Payment, code: str = "token_spent", copies: int = 1) -> None:
    status = 409 if code == "token_in_use" else 401
    assert payment.read(head(status), error(code), Upload(begun=True, copies=copies))


def test_so_many_tokens_are_tried_and_no_more(wallet: Wallet) -> None:
    fill(wallet, 10)
    bill = bill_of(wallet)
    for _ in range(1 + RETRIES):
        refuse(bill.hold())
    with pytest.raises(TokenRefused, match=r"refused 3 of your tokens \(token_spent\)") as caught:
        bill.hold()
    assert caught.value.code is Exit.TOKEN_REFUSED
    assert counts(wallet) == (10 - 1 - RETRIES, 0, 0, 0)


def test_a_refusal_of_the_last_token_is_told_as_one(wallet: Wallet) -> None:
    fill(wallet, 1)
    bill = bill_of(wallet)
    refuse(bill.hold(), "token_in_use")
    with pytest.raises(TokenRefused, match=r"1 of your tokens \(token_in_use\), and there is no"):
        bill.hold()


def test_what_was_refused_that_had_never_left_is_counted(wallet: Wallet) -> None:
    fill(wallet, 2)
    bill = bill_of(wallet)
    refuse(bill.hold())
    refuse(bill.hold(), "token_in_use")
    assert wallet.refusals() == [Refusals(C1, "token_in_use", 1), Refusals(C1, "token_spent", 1)]


def test_what_had_left_before_is_not_counted(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 2)
    clock.now += SPREAD_SECONDS
    refuse(bill_of(wallet).hold(), copies=2)
    seen = bill_of(wallet).hold()
    seen.read(head(502, (b"privatetoken-status", b"returned")), b"", Upload())
    refuse(bill_of(wallet).hold())
    assert wallet.refusals() == []


@pytest.mark.parametrize(
    ("code", "is_kept"), [("token_spent", True), ("token_in_use", True), ("token_invalid", False)]
)
def test_a_token_that_left_twice_and_is_spent_is_not_followed_by_another(
    wallet: Wallet, code: str, is_kept: bool
) -> None:
    """Somebody called a key unknown, and kept the answer: another would be paid for as well."""
    fill(wallet, 3)
    bill = bill_of(wallet)
    refuse(bill.hold(), code, copies=2)
    if not is_kept:
        bill.hold()
        return
    with pytest.raises(TokenRefused, match="somebody on the way kept the answer"):
        bill.hold()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (error("token_spent"), "token_spent"),
        (error("a_" * 30), "a_" * 20),
        (error(None), "status 401"),
        (b"not json", "status 401"),
        (error("\x1b[2Jgarbage"), "status 401"),
        (b'{"error": "text"}', "status 401"),
        (
            b'{"type":"error","error":{"type":"t","code":"token_spent"}}',
            "token_spent",
        ),
    ],
)
def test_the_code_of_a_refusal_is_a_word(wallet: Wallet, content: bytes, told: str) -> None:
    fill(wallet, 1)
    bill = bill_of(wallet)
    assert bill.hold().read(head(401), content, Upload())
    with pytest.raises(TokenRefused) as caught:
        bill.hold()
    assert f"({told})" in str(caught.value)


def test_a_token_that_came_back_pays_for_the_same_question_first(
    wallet: Wallet, clock: Clock
) -> None:
    fill(wallet, 10)
    clock.now += SPREAD_SECONDS
    purse = Purse(wallet)

    def bill(content: bytes) -> Bill:
        found = purse.bill(CATALOGUE, CHAT, content)
        assert found is not None
        return found

    first = bill(body()).hold()
    first.read(head(502, (b"privatetoken-status", b"returned")), b"", Upload())
    other = bill(body(user="another")).hold()
    assert other.held.token != first.held.token
    again = bill(body()).hold()
    assert again.held.token == first.held.token
    assert bill(body()).hold().held.token != first.held.token


def returned(wallet: Wallet, bill: Bill) -> None:
    """Have a token come back."""
    bill.hold().read(head(429, (b"privatetoken-status", b"returned")), b"", Upload(copies=1))


def test_a_token_that_came_back_and_is_still_in_use_stays_usable_and_the_next_is_tried(
    wallet: Wallet, clock: Clock
) -> None:
    (first,) = fill(wallet, 1)
    clock.now += SPREAD_SECONDS
    purse = Purse(wallet)
    bill = purse.bill(CATALOGUE, CHAT, body())
    assert bill is not None
    returned(wallet, bill)
    fill(wallet, 1)
    again = purse.bill(CATALOGUE, CHAT, body())
    assert again is not None
    held = again.hold()
    assert held.held.token == first
    assert held.held.came_back
    refuse(held, "token_in_use")
    assert counts(wallet) == (1, 1, 0, 0)  # not unknown for an hour
    assert again.hold().held.token != first
    assert wallet.refusals() == []


def test_the_last_token_that_is_still_in_use_says_how_long(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    returned(wallet, bill_of(wallet))
    bill = bill_of(wallet)
    refuse(bill.hold(), "token_in_use")
    with pytest.raises(TokenRefused, match="came back just now") as caught:
        bill.hold()
    assert caught.value.advice == "ask again in half a minute"
    assert counts(wallet) == (0, 1, 0, 0)
    clock.now += RETURNING_SECONDS
    later = bill_of(wallet)
    refuse(later.hold(), "token_in_use")  # by somebody else, then
    assert counts(wallet) == (0, 0, 0, 1)
    with pytest.raises(TokenRefused, match=r"1 of your tokens \(token_in_use\)"):
        later.hold()


def test_a_token_that_came_back_and_is_spent_is_dropped(wallet: Wallet) -> None:
    fill(wallet, 1)
    returned(wallet, bill_of(wallet))
    bill = bill_of(wallet)
    refuse(bill.hold())
    assert counts(wallet) == (0, 0, 0, 0)
    with pytest.raises(TokenRefused, match=r"1 of your tokens \(token_spent\)"):
        bill.hold()


def test_so_many_questions_are_remembered() -> None:
    purse = Purse(None)
    digests = [bytes([number]) * 32 for number in range(REMEMBERED_BODIES + 1)]
    for number, digest in enumerate(digests):
        purse.remember(digest, number)
    assert purse.recall(digests[0]) is None
    assert purse.recall(digests[1]) == 1
    assert purse.recall(digests[1]) is None


# Streams.

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"Paris"}}]}\n\n'
GIVEN_BACK = b'data: {"error":{"message":"m","token":"returned"}}\n\n'
OF_MESSAGES = (
    b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"m",'
    b'"token":"returned"}}\n\n'
)
OF_RESPONSES = (
    b'event: response.failed\r\ndata: {"type":"response.failed","response":'
    b'{"error":{"code":"c","token":"returned"}}}\r\n\r\n'
)
QUOTED = (
    b'data: {"choices":[{"delta":{"content":"{\\"error\\":{\\"token\\":\\"returned\\"}}"}}]}\n\n'
)
SPENT = b'data: {"error":{"message":"m","token":"spent"}}\n\n'
ODD = b'data: ["returned"]\n\ndata: {"error":"returned"}\n\ndata: "returned\n\n'


@pytest.mark.parametrize("size", [1, 7, 1000])
@pytest.mark.parametrize(
    ("events", "found"),
    [
        (EVENT, (0, 0, 0, 0)),
        (b"", (0, 0, 0, 0)),
        (EVENT + QUOTED, (0, 0, 0, 0)),
        (SPENT, (0, 0, 0, 0)),
        (ODD, (0, 0, 0, 0)),
        (GIVEN_BACK, (0, 1, 0, 0)),
        (GIVEN_BACK.replace(b"data: ", b"data:"), (0, 1, 0, 0)),
        (b": padding\n\n" + OF_MESSAGES, (0, 1, 0, 0)),
        (OF_RESPONSES, (0, 1, 0, 0)),
    ],
)
def test_the_end_of_a_stream_settles_its_token(
    wallet: Wallet, events: bytes, found: tuple[int, int, int, int], size: int
) -> None:
    streamed = StreamedPayment(payment_of(wallet))
    for start in range(0, len(events), size):
        streamed.take(events[start : start + size])
    assert counts(wallet) == (0, 0, 1, 0)
    streamed.end()
    assert counts(wallet) == found


def test_a_stream_that_breaks_off_leaves_its_token_unknown(wallet: Wallet) -> None:
    streamed = StreamedPayment(payment_of(wallet))
    streamed.take(EVENT)
    streamed.break_off()
    streamed.hang_up()  # which comes after every end, and settles nothing then
    assert counts(wallet) == (0, 0, 0, 1)


def test_who_hangs_up_has_spent_a_token(wallet: Wallet) -> None:
    StreamedPayment(payment_of(wallet)).hang_up()
    assert counts(wallet) == (0, 0, 0, 0)


def test_who_hangs_up_at_the_error_has_the_token_back(wallet: Wallet) -> None:
    streamed = StreamedPayment(payment_of(wallet))
    streamed.take(GIVEN_BACK)
    streamed.hang_up()
    assert counts(wallet) == (0, 1, 0, 0)


def test_of_a_long_line_no_more_is_kept_than_an_error_needs(wallet: Wallet) -> None:
    streamed = StreamedPayment(payment_of(wallet))
    streamed.take(b"data: " + b"x" * (2 * ERROR_EVENT_BYTES))
    assert len(streamed._line) == ERROR_EVENT_BYTES
    streamed.take(b"\n" + GIVEN_BACK)
    streamed.end()
    assert counts(wallet) == (0, 1, 0, 0)

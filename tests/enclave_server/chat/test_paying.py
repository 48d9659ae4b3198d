"""What pays for a request; `test_service_paying.py` has what its client sees of it."""

import asyncio
from collections.abc import Callable

import pytest

from enclave_server.chat.errors import ChatError, Failure, UpstreamError
from enclave_server.chat.paying import (
    NO_RETRY,
    REJECTED_SECONDS,
    STATUS,
    UNPAID,
    Paid,
    pay,
    presented_units,
    tell,
    too_large,
)
from enclave_server.payment.gate import Presented
from enclave_server.payment.hold import Hold
from tests.enclave_server.payment.test_hold import Noting
from tests.support.paid_service import Counted


class Paying:
    """A payment, and what it told its store."""

    def __init__(self) -> None:
        self.store, self.counted = Noting(), Counted()
        self.payment = Paid(Hold(self.store, b"n", b"t"), self.counted.tally)


@pytest.mark.parametrize("times", [1, 3])
def test_what_has_begun_is_spent_once(times: int) -> None:
    paying = Paying()
    for _ in range(times):
        paying.payment.begin()
    assert paying.store.done == [("commit", b"n", b"t")]
    assert paying.payment.fields == ((STATUS, b"spent"),)
    assert paying.counted.counts == {"redeemed": 1}


@pytest.mark.parametrize("failure", Failure)
def test_every_failure_of_an_upstream_gives_it_back(failure: Failure) -> None:
    paying = Paying()
    paying.payment.fail(UpstreamError(failure))
    status: int = failure.value[0]
    is_provoked = status == 400 or failure is Failure.TOOL_USE_FAILED
    after = REJECTED_SECONDS if is_provoked else 0
    assert paying.store.done == [("give back", b"n", b"t", after)]
    assert paying.payment.status == "returned"
    assert paying.counted.counts == {"returned": 1}
    paying.payment.begin()  # nothing follows
    assert paying.payment.status == "returned"


@pytest.mark.parametrize(
    "error", [ChatError(503, ""), asyncio.CancelledError(), GeneratorExit(), RuntimeError()]
)
def test_all_else_spends_it(error: BaseException) -> None:
    paying = Paying()
    paying.payment.fail(error)
    assert paying.store.done == [("commit", b"n", b"t")]


def test_a_failure_after_the_beginning_changes_nothing() -> None:
    paying = Paying()
    paying.payment.begin()
    paying.payment.fail(UpstreamError(Failure.BROKEN))
    assert paying.store.done == [("commit", b"n", b"t")]


@pytest.mark.parametrize(
    ("settle", "told"),
    [
        (lambda paid, error: paid.fail(error), ((STATUS, b"returned"),)),
        (lambda paid, error: paid.begin(), ((STATUS, b"spent"), NO_RETRY)),
    ],
    ids=["returned", "spent"],
)
def test_an_error_tells_the_token_beside_what_it_told(
    settle: Callable[[Paid, UpstreamError], None], told: tuple[tuple[bytes, bytes], ...]
) -> None:
    paying, error = Paying(), UpstreamError(Failure.LIMITED, retry_after=7)
    settle(paying.payment, error)
    tell(error, paying.payment)
    assert error.fields == ((b"retry-after", b"7"), *told)
    assert error.token is None  # of streams alone


def test_what_is_free_says_nothing_of_tokens() -> None:
    error = UpstreamError(Failure.SLOW)
    UNPAID.begin()
    UNPAID.fail(error)
    tell(error, UNPAID)
    assert (error.fields, UNPAID.fields, UNPAID.status) == ((), (), None)


def test_nobody_pays_without_a_gate_or_a_price() -> None:
    assert asyncio.run(pay(None, None, 4)) is UNPAID
    assert asyncio.run(pay(None, Presented(), None)) is UNPAID
    assert presented_units(None) is presented_units(Presented()) is None


def test_what_is_too_large_is_named() -> None:
    error = too_large("messages")
    assert (error.status, error.code, error.param) == (400, "budget_exceeded", "messages")
    assert error.fields == (NO_RETRY,)

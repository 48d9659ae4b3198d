"""Stocks that are kept in the background: what is bought, when, and that failures end nothing."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from oblivious_client.errors import UsageError
from oblivious_client.issuance import Buyer
from oblivious_client.top_up import (
    DELAY_SECONDS,
    LOOK_SECONDS,
    MOST_KEPT,
    Stocks,
    TopUp,
    read_stocks,
)
from oblivious_client.wallet import Wallet
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint
from tests.support.stand_in_issuer import SECRET, StandInIssuer
from tests.support.wallets import C1, C4, MINT, MODELS, Clock, fill, total


@pytest.fixture
def issuer() -> Iterator[StandInIssuer]:
    with StandInIssuer(MINT) as running:
        yield running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=clock)


class Kept:
    """A top-up whose delays are those of a list, and what it told."""

    def __init__(
        self, issuer: StandInIssuer, wallet: Wallet, wanted: dict[PricePoint, int]
    ) -> None:
        self.told: list[str] = []
        self.delays: list[tuple[float, float]] = []
        self.catalogue: Catalogue | None = issuer.catalogue(MODELS)
        self.top_up = TopUp(
            Stocks(Buyer(wallet, SECRET), wanted),
            self._catalogue,
            self.told.append,
            uniform=self._uniform,
        )

    async def _catalogue(self) -> Catalogue | None:
        return self.catalogue

    def _uniform(self, low: float, high: float) -> float:
        self.delays.append((low, high))
        return 100.0

    def look(self) -> None:
        asyncio.run(self.top_up.look())


def test_a_stock_is_filled_at_a_later_moment(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    kept = Kept(issuer, wallet, {C1: 40})
    kept.look()
    assert total(wallet) == 0
    assert kept.delays == [(0, DELAY_SECONDS)]
    clock.now += 99
    kept.look()
    assert total(wallet) == 0
    clock.now += 1
    kept.look()
    assert total(wallet) == 50  # the smallest pack that fills it
    assert kept.told == ["bought 50 tokens of c1"]
    clock.now += DELAY_SECONDS
    kept.look()
    assert total(wallet) == 50
    assert len(kept.delays) == 2


@pytest.mark.parametrize(("have", "is_due"), [(5, False), (4, True)])
def test_a_stock_is_due_when_less_than_half_is_left(
    have: int, is_due: bool, issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    fill(wallet, have)
    kept = Kept(issuer, wallet, {C1: 10})
    kept.look()
    assert len(kept.delays) == is_due


def test_what_is_due_stays_so_when_tokens_go_on(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    kept = Kept(issuer, wallet, {C1: 10})
    kept.look()
    clock.now += 50
    kept.look()  # no second moment is drawn
    assert len(kept.delays) == 1


def test_a_large_stock_is_bought_in_packs_at_moments_of_their_own(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    kept = Kept(issuer, wallet, {C1: 210})
    kept.look()
    sizes = []
    for _ in range(5):
        clock.now += 100
        kept.look()
        sizes.append(total(wallet))
    assert sizes == [100, 200, 210, 210, 210]


def test_each_price_has_a_stock_of_its_own(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    fill(wallet, 10)
    kept = Kept(issuer, wallet, {C1: 10, C4: 10})
    kept.look()
    clock.now += 100
    kept.look()
    assert [(pile.price, pile.ready) for pile in wallet.piles()] == [(C1, 10), (C4, 10)]


def test_tokens_that_end_soon_and_those_of_others_do_not_count(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    fill(wallet, 10)
    kept = Kept(issuer, wallet, {C1: 10})
    kept.look()
    assert kept.delays == []
    clock.now = MINT.epochs[0].redeem_until - DELAY_SECONDS
    kept.look()
    assert len(kept.delays) == 1


def test_what_was_filled_by_hand_meanwhile_is_not_bought(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    kept = Kept(issuer, wallet, {C1: 10})
    kept.look()
    fill(wallet, 10)
    clock.now += 100
    kept.look()
    assert issuer.bodies == []
    clock.now = MINT.epochs[0].redeem_until - DELAY_SECONDS
    kept.look()  # due again
    assert len(kept.delays) == 2


def test_a_gateway_that_takes_no_tokens_needs_no_stock(
    issuer: StandInIssuer, wallet: Wallet
) -> None:
    kept = Kept(issuer, wallet, {C1: 10})
    kept.catalogue = None
    kept.look()
    assert kept.delays == []


def test_a_failure_is_told_and_tried_at_another_moment(
    issuer: StandInIssuer, wallet: Wallet, clock: Clock
) -> None:
    kept = Kept(issuer, wallet, {C1: 10})
    issuer.faults.statuses = [402]
    rounds: list[float] = []

    async def sleep(seconds: float) -> None:
        rounds.append(seconds)
        clock.now += 100
        if len(rounds) == 4:
            raise asyncio.CancelledError

    kept.top_up.sleep = sleep
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(kept.top_up.run())
    assert rounds == [LOOK_SECONDS] * 4
    assert kept.told == [
        "tokens were not bought: 127.0.0.1 refused the purchase: the voucher has too little left",
        "bought 10 tokens of c1",
    ]
    assert total(wallet) == 10


async def nobody() -> None:
    """Name no catalogue."""


def test_moments_are_drawn_from_the_whole_of_their_time() -> None:
    kept = TopUp(Stocks(Buyer(Wallet("none"), SECRET), {}), nobody, print)
    drawn = [kept.uniform(0, DELAY_SECONDS) for _ in range(200)]
    assert all(0 <= each <= DELAY_SECONDS for each in drawn)
    assert min(drawn) < DELAY_SECONDS / 4
    assert max(drawn) > DELAY_SECONDS * 3 / 4  # each fails once in 10^24 runs


def test_stocks_are_read() -> None:
    assert read_stocks("c1=40,c4=10") == {C1: 40, C4: 10}
    assert read_stocks(f"c1={MOST_KEPT}") == {C1: MOST_KEPT}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c1",
        "c1=",
        "c1=0",
        "c1=-1",
        "c1=x",
        f"c1={MOST_KEPT + 1}",
        "c1=1,c1=2",
        "d1=4",
        "c1=²",
        "c1=00010000000",
    ],
)
def test_what_is_no_stock_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        read_stocks(text)

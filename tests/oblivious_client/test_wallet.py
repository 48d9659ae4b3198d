"""The wallet: which token is taken, what becomes of it, and that none is lost or taken twice."""

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from oblivious_client.purchases import Purchases
from oblivious_client.wallet import (
    KEPT_SECONDS,
    LEASE_SECONDS,
    RETURNING_SECONDS,
    SPARE_SECONDS,
    SPREAD_SECONDS,
    Held,
    Outcome,
    Pile,
    Refusals,
    Wallet,
)
from protocol.token_catalogue import SKEW_SECONDS
from protocol.token_prices import PricePoint
from tests.support.minting import Mint, epochs_around
from tests.support.wallets import (
    C1,
    C4,
    C16,
    C64,
    CATALOGUE,
    MINT,
    NOW,
    Clock,
    counts,
    fill,
    is_sound,
    octets_of,
    source_of,
    total,
)

PRICES = [C1, C4, C16, C64]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wallet(tmp_path: Path, clock: Clock) -> Wallet:
    return Wallet(tmp_path / "wallet.sqlite3", clock=clock)


def taken(wallet: Wallet, *prices: PricePoint) -> Held:
    held = wallet.take(CATALOGUE, prices or PRICES)
    assert held is not None
    return held


# Which token is taken.


def test_an_empty_wallet_gives_nothing(wallet: Wallet) -> None:
    assert wallet.take(CATALOGUE, PRICES) is None
    assert wallet.piles() == []


def test_a_token_that_is_taken_verifies(wallet: Wallet) -> None:
    (token,) = fill(wallet, 1)
    held = taken(wallet)
    assert held.token == token
    held.token.verify(MINT.keys[0].key, CATALOGUE.challenge.digest)
    assert held.price == C1
    assert held.is_fresh
    assert wallet.take(CATALOGUE, PRICES) is None


def test_the_cheapest_that_will_do_is_taken(wallet: Wallet, clock: Clock) -> None:
    for price in (C64, C1, C16):
        fill(wallet, 1, price)
    clock.now += SPREAD_SECONDS
    assert [taken(wallet, C4, C16, C64).price for _ in range(2)] == [C16, C64]
    assert wallet.take(CATALOGUE, [C4, C16, C64]) is None
    assert taken(wallet, C1).price == C1


def test_a_key_that_ends_first_goes_first(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 2, epoch=1)
    fill(wallet, 2, epoch=0)
    clock.now = MINT.epochs[1].issue_from  # when both epochs are taken
    ids = [taken(wallet).token.token_key_id for _ in range(4)]
    first, second = MINT.keys[0].key.key_id, MINT.keys[4].key.key_id
    assert ids == [first, first, second, second]


def test_of_a_key_any_one_is_taken(tmp_path: Path, clock: Clock) -> None:
    places = []
    for number in range(24):
        wallet = Wallet(tmp_path / f"{number}.sqlite3", clock=clock)
        nonces = [token.nonce for token in fill(wallet, 3)]
        places.append(nonces.index(taken(wallet).token.nonce))
    assert set(places) == {0, 1, 2}  # each is missing once in 5,000 runs of this test


def test_a_token_rests_after_its_purchase_unless_there_is_no_other(
    wallet: Wallet, clock: Clock
) -> None:
    rested = {token.nonce for token in fill(wallet, 3)}
    clock.now += SPREAD_SECONDS
    young = {token.nonce for token in fill(wallet, 3)}
    assert {taken(wallet).token.nonce for _ in range(3)} == rested
    assert {taken(wallet).token.nonce for _ in range(3)} == young


def test_a_cheap_token_that_rests_goes_before_a_dear_one(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1, C4)
    clock.now += SPREAD_SECONDS
    fill(wallet, 1, C1)
    assert taken(wallet).price == C1


def test_a_token_that_was_seen_goes_after_those_that_were_not(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 3)
    clock.now += SPREAD_SECONDS
    seen = taken(wallet)
    wallet.settle(seen, Outcome.RETURNED)
    assert counts(wallet) == (2, 1, 0, 0)
    others = [taken(wallet) for _ in range(2)]
    assert seen.token not in [each.token for each in others]
    last = taken(wallet)
    assert last.token == seen.token
    assert not last.is_fresh


def test_a_token_that_was_seen_goes_before_those_that_rest(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    clock.now += SPREAD_SECONDS
    seen = taken(wallet)
    wallet.settle(seen, Outcome.RETURNED)
    fill(wallet, 1)
    assert taken(wallet).token == seen.token


def test_it_is_known_for_a_minute_that_a_token_came_back(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    for outcome, seconds, came_back in (
        (Outcome.UNSENT, 0.0, False),
        (Outcome.RETURNED, RETURNING_SECONDS - 1, True),
        (Outcome.UNSENT, 0.0, True),  # it did not leave, and comes back all the same
        (Outcome.UNSENT, 1.0, False),
        (Outcome.RETURNED, RETURNING_SECONDS, False),
    ):
        wallet.settle(taken(wallet), outcome)
        clock.now += seconds
        held = taken(wallet)
        assert held.came_back is came_back
        wallet.settle(held, Outcome.UNSENT)


def test_what_is_left_out_is_not_taken(wallet: Wallet) -> None:
    fill(wallet, 2)
    first = taken(wallet)
    wallet.settle(first, Outcome.UNSENT)
    other = wallet.take(CATALOGUE, PRICES, preferred=first.row, without={first.row})
    assert other is not None
    assert other.token != first.token
    assert wallet.take(CATALOGUE, PRICES, without={first.row}) is None


def test_a_token_that_came_back_goes_first_with_the_same_question(
    wallet: Wallet, clock: Clock
) -> None:
    fill(wallet, 3)
    clock.now += SPREAD_SECONDS
    seen = taken(wallet)
    wallet.settle(seen, Outcome.RETURNED)
    again = wallet.take(CATALOGUE, PRICES, preferred=seen.row)
    assert again is not None
    assert again.token == seen.token
    other = wallet.take(CATALOGUE, PRICES, preferred=again.row)  # which is held
    assert other is not None
    assert other.token != seen.token


@pytest.mark.parametrize(
    ("moment", "is_taken"),
    [
        (MINT.epochs[0].issue_from - SKEW_SECONDS, True),
        (MINT.epochs[0].issue_from - SKEW_SECONDS - 1, False),
        (MINT.epochs[0].redeem_until - SPARE_SECONDS - 1, True),
        (MINT.epochs[0].redeem_until - SPARE_SECONDS, False),
    ],
)
def test_a_token_that_might_end_on_its_way_is_not_taken(
    wallet: Wallet, clock: Clock, moment: float, is_taken: bool
) -> None:
    fill(wallet, 1)
    clock.now = moment
    assert (wallet.take(CATALOGUE, PRICES) is not None) is is_taken
    assert total(wallet) == 1


def test_a_key_that_is_not_attested_is_not_taken_and_its_tokens_are_kept(wallet: Wallet) -> None:
    fill(wallet, 2)
    other = Mint(epochs_around(NOW, 1), PRICES[1:]).catalogue({})
    assert wallet.take(other, PRICES) is None
    elsewhere = replace(CATALOGUE, origin="other.example")
    assert wallet.take(elsewhere, PRICES) is None
    elsewhere = replace(CATALOGUE, issuer="other.example")
    assert wallet.take(elsewhere, PRICES) is None
    assert counts(wallet) == (2, 0, 0, 0)


# What becomes of it.


def test_a_spent_token_is_gone_from_the_disk(wallet: Wallet) -> None:
    tokens = fill(wallet, 20)
    for _ in tokens[:10]:
        wallet.settle(taken(wallet), Outcome.GONE)
    octets = octets_of(wallet)
    left = [token for token in tokens if token.nonce in octets]
    assert len(left) == total(wallet) == 10
    assert sum(token.authenticator in octets for token in tokens) == 10


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (Outcome.GONE, (0, 0, 0, 0)),
        (Outcome.UNSENT, (1, 0, 0, 0)),
        (Outcome.RETURNED, (0, 1, 0, 0)),
        (Outcome.UNKNOWN, (0, 0, 0, 1)),
    ],
)
def test_an_outcome_settles_a_token(
    wallet: Wallet, outcome: Outcome, found: tuple[int, int, int, int]
) -> None:
    fill(wallet, 1)
    held = taken(wallet)
    assert counts(wallet) == (0, 0, 1, 0)
    wallet.settle(held, outcome)
    assert counts(wallet) == found


def test_what_was_seen_once_stays_so(wallet: Wallet) -> None:
    fill(wallet, 1)
    wallet.settle(taken(wallet), Outcome.RETURNED)
    wallet.settle(taken(wallet), Outcome.UNSENT)
    assert counts(wallet) == (0, 1, 0, 0)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_nobody_settles_what_somebody_else_holds(wallet: Wallet, outcome: Outcome) -> None:
    fill(wallet, 1)
    first = taken(wallet)
    wallet.settle(first, Outcome.UNSENT)
    second = taken(wallet)
    assert second.row == first.row
    wallet.settle(first, outcome)
    assert counts(wallet) == (0, 0, 1, 0)
    wallet.settle(second, Outcome.GONE)
    assert total(wallet) == 0


def test_what_a_killed_program_held_comes_back_in_two_steps(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    taken(wallet)
    clock.now += LEASE_SECONDS
    wallet.recover()
    assert counts(wallet) == (0, 0, 1, 0)
    clock.now += 1
    wallet.recover()
    assert counts(wallet) == (0, 0, 0, 1)
    clock.now += 2 * LEASE_SECONDS
    assert wallet.take(CATALOGUE, PRICES) is None
    clock.now += 1
    held = taken(wallet)  # which recovers by itself
    assert not held.is_fresh


def test_who_was_only_slow_still_settles(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    held = taken(wallet)
    clock.now += LEASE_SECONDS + 1
    wallet.recover()
    wallet.settle(held, Outcome.GONE)
    assert total(wallet) == 0


def test_tokens_go_a_day_after_their_end(wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 1)
    clock.now = MINT.epochs[0].redeem_until + KEPT_SECONDS
    assert wallet.take(CATALOGUE, PRICES) is None
    assert total(wallet) == 1
    clock.now += 1
    assert wallet.take(CATALOGUE, PRICES) is None
    assert total(wallet) == 0


def test_what_somebody_says_of_a_key_ends_no_token(wallet: Wallet) -> None:
    fill(wallet, 2)
    with wallet.file.writing() as database:
        database.execute("UPDATE keys SET issue_from = 0, issue_until = 1, redeem_until = 2")
    assert taken(wallet).is_fresh
    assert total(wallet) == 2
    assert wallet.piles()[0].redeem_until == MINT.epochs[0].redeem_until


@pytest.mark.parametrize("days", [365, 10 * 365, 100 * 365])
def test_a_clock_that_is_ahead_takes_nothing(days: int, wallet: Wallet, clock: Clock) -> None:
    fill(wallet, 3)
    held, before = taken(wallet), clock.now
    clock.now += days * 86400
    wallet.recover()
    assert wallet.take(CATALOGUE, PRICES) is None
    assert total(wallet) == 3
    clock.now = before
    wallet.settle(held, Outcome.UNSENT)
    assert taken(wallet).token is not None


def test_piles_are_told_by_their_end_and_price(wallet: Wallet) -> None:
    fill(wallet, 2, C4)
    fill(wallet, 1, C1, epoch=1)
    fill(wallet, 3, C1)
    assert [(pile.price, pile.redeem_until, pile.ready) for pile in wallet.piles()] == [
        (C1, MINT.epochs[0].redeem_until, 3),
        (C4, MINT.epochs[0].redeem_until, 2),
        (C1, MINT.epochs[1].redeem_until, 1),
    ]
    assert Pile("i", "o", C1, 0, 1, 2, 4, 8).usable == 3


def test_refusals_of_what_had_never_left_are_counted(wallet: Wallet) -> None:
    assert wallet.refusals() == []
    for code in ("token_spent", "token_spent", "token_in_use"):
        wallet.note_refusal(C4, code)
    assert wallet.refusals() == [Refusals(C4, "token_in_use", 1), Refusals(C4, "token_spent", 2)]


# Many at once, and copies.


def test_no_token_is_given_to_two_threads(wallet: Wallet) -> None:
    tokens = fill(wallet, 40)
    found: list[bytes] = []

    def spend() -> None:
        while (held := wallet.take(CATALOGUE, PRICES)) is not None:
            found.append(held.token.nonce)

    threads = [threading.Thread(target=spend) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert Counter(found) == Counter(token.nonce for token in tokens)
    assert is_sound(wallet.file.path)


def test_the_same_tokens_are_kept_once(wallet: Wallet) -> None:
    tokens = fill(wallet, 3)
    held = taken(wallet)
    assert Purchases(wallet).add(source_of(), tokens) == 0
    wallet.settle(held, Outcome.GONE)
    assert total(wallet) == 2


def test_what_is_held_prints_no_mark_of_its_holder(wallet: Wallet) -> None:
    fill(wallet, 1)
    held = taken(wallet)
    assert repr(held.holder) not in repr(held)

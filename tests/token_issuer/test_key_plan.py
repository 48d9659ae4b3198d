"""New epochs: times that follow, identifiers that end differently, and what a gateway reads."""

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol import base64url
from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_key import TokenKey
from protocol.token_prices import PricePoint
from tests.support.issuing import made_keys
from tests.support.private_tokens import PRICES, START, WEEK, catalogue_keys, epoch, toy_key
from token_issuer import key_plan
from token_issuer.key_plan import (
    DAY,
    PlanError,
    gateway_tables,
    new_keys,
    next_epochs,
    next_start,
    require_catalogue,
)

PRIVATE = [private for _, private in made_keys()]
TIMES = ("issue_from", "issue_until", "redeem_until")
ENTRIES = [entry for entry, _ in made_keys()]


def test_epochs_follow_one_another_and_are_redeemed_for_as_long_again() -> None:
    assert list(next_epochs(3, START)) == [epoch(0), epoch(1), epoch(2)]
    assert list(next_epochs(1, START, 7)) == [Epoch(START, START + WEEK, START + 2 * WEEK)]


def test_the_first_new_epoch_begins_today_or_where_the_last_one_ends() -> None:
    assert next_start([], START + 12345) == START
    assert next_start(ENTRIES, START + 12345) == epoch(1).issue_until
    assert next_start(ENTRIES, epoch(1).issue_until + DAY + 1) == epoch(1).issue_until + DAY


def test_keys_are_made_again_until_their_identifiers_end_differently() -> None:
    first, second, third = PRIVATE[:3]
    offered: Iterator[RSAPrivateKey] = iter([first, first, second, second, first, third])
    made = new_keys([], [epoch(0)], list(PRICES[:3]), lambda: next(offered))
    assert [each.private for each in made] == [first, second, third]
    assert [each.entry.price for each in made] == list(PRICES[:3])
    ends = {TokenKey.from_public_key(each.private.public_key()).truncated_id for each in made}
    assert len(ends) == 3


def test_keys_end_differently_from_those_that_are_known() -> None:
    known = [CatalogueKey(PRICES[0], epoch(0), ENTRIES[0].key)]
    offered = iter([PRIVATE[0], PRIVATE[1]])
    (made,) = new_keys(known, [epoch(1)], [PRICES[0]], lambda: next(offered))
    assert made.private == PRIVATE[1]


def test_keys_end_differently_from_those_that_are_not_yet_destroyed() -> None:
    """Or a request for one would be taken for one of a key that signs nothing any more."""
    old = CatalogueKey(PRICES[0], epoch(0), ENTRIES[0].key)
    offered = iter([PRIVATE[0], PRIVATE[1]])
    (made,) = new_keys([], [epoch(3)], [PRICES[0]], lambda: next(offered), [old])
    assert made.private == PRIVATE[1]


def test_prices_are_put_in_order() -> None:
    made = new_keys([], [epoch(0)], [PRICES[1], PRICES[0]], iter(PRIVATE).__next__)
    assert [each.entry.price for each in made] == [PRICES[0], PRICES[1]]


def known_keys(epochs: int) -> list[CatalogueKey]:
    """Return keys whose identifiers end otherwise than those that are offered."""
    taken = {entry.key.truncated_id for entry in ENTRIES}
    free = (ending for ending in range(256) if ending not in taken)
    return [
        CatalogueKey(price, epoch(number), toy_key(next(free)))
        for number in range(epochs)
        for price in PRICES
    ]


@pytest.mark.parametrize(
    ("known", "number", "prices", "reason"),
    [
        (3, 3, [PRICES[0]], "same price points"),
        (2, 1, list(PRICES), "same price points"),
        (0, 0, [PRICES[0], PRICES[0]], "twice"),
        (0, 0, [], "epochs"),
    ],
)
def test_keys_that_no_gateway_would_take(
    known: int, number: int, prices: list[PricePoint], reason: str
) -> None:
    there = known_keys(known)
    with pytest.raises(PlanError, match=reason):
        new_keys(there, [epoch(number)], prices, iter(PRIVATE).__next__)


def test_more_epochs_than_a_gateway_takes_make_no_key() -> None:
    def make() -> RSAPrivateKey:
        raise AssertionError("a key was made")

    with pytest.raises(PlanError, match="6 epochs"):
        new_keys(catalogue_keys(3), [epoch(number) for number in range(3, 7)], PRICES, make)


def test_as_many_epochs_as_a_gateway_takes() -> None:
    known = known_keys(5)[::4]
    (made,) = new_keys(known, [epoch(5)], PRICES[:1], iter(PRIVATE).__next__)
    assert made.entry.epoch == epoch(5)
    assert "RSAPrivateKey" not in repr(made)


def test_a_fresh_key_is_one_of_token_type_2() -> None:
    private = key_plan.generate()
    assert TokenKey.from_public_key(private.public_key()).spki
    assert private.key_size == 2048


def test_the_gateway_reads_what_is_printed() -> None:
    keys = catalogue_keys(2)
    tables = tomllib.loads(gateway_tables(keys))["tokens"]["keys"]
    read = [
        CatalogueKey(
            PricePoint.decode(table["price"]),
            Epoch(*(seconds(table[name]) for name in TIMES)),
            TokenKey.decode(base64url.decode(table["token_key"].encode())),
        )
        for table in tables
    ]
    assert read == keys
    assert tables[0].keys() == {"price", "token_key", "issue_from", "issue_until", "redeem_until"}


def seconds(time: datetime) -> int:
    assert time.tzinfo is not None
    return int(time.astimezone(UTC).timestamp())


def test_a_catalogue_without_keys_is_none() -> None:
    with pytest.raises(PlanError):
        require_catalogue([])
    require_catalogue([CatalogueKey(PRICES[0], epoch(0), toy_key(0))])

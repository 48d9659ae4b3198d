"""Price points and budgets: what a request costs, which both ends compute alike."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.token_prices import MAX_AMOUNT, Asked, Budget, PricePoint, Tariff

C1, C4, C16 = PricePoint(1), PricePoint(4), PricePoint(16)
TARIFF = Tariff({C4: Budget(40, 20, 1), C1: Budget(10, 20)})
AMOUNTS = st.integers(0, 50)
NEEDS = st.builds(Budget, AMOUNTS, AMOUNTS, AMOUNTS)


def test_a_tariff_shows_what_it_was_made_of() -> None:
    shown = repr(TARIFF)
    assert shown.count("PricePoint(units=4)") == 1


def test_names() -> None:
    for name in ("c1", "c4", "c16", "c999999"):
        assert str(PricePoint.decode(name)) == name
    assert sorted([C16, C1, C4]) == [C1, C4, C16]


@pytest.mark.parametrize(
    "name", ["", "c", "c0", "c01", "C1", "c-1", "c1 ", "c1\n", "c1000000", "1", "c\u0661", 1, None]
)
def test_other_names_are_refused(name: object) -> None:
    with pytest.raises(MalformedMessage):
        PricePoint.decode(name)


@pytest.mark.parametrize("units", [0, -1, 1_000_000])
def test_a_price_has_its_range(units: int) -> None:
    with pytest.raises(ValueError, match="units"):
        PricePoint(units)


@pytest.mark.parametrize(
    ("need", "price"),
    [
        (Budget(0, 0), C1),
        (Budget(10, 20), C1),
        (Budget(11, 20), C4),
        (Budget(1, 1, 1), C4),
        (Budget(40, 20, 1), C4),
        (Budget(41, 0), None),
        (Budget(0, 21), None),
        (Budget(0, 0, 2), None),
    ],
)
def test_the_cheapest_that_suffices(need: Budget, price: PricePoint | None) -> None:
    assert TARIFF.price(need) == price


@given(st.lists(st.tuples(AMOUNTS, AMOUNTS, AMOUNTS), min_size=1, max_size=6), NEEDS)
def test_a_price_is_the_least_of_those_that_cover(
    steps: list[tuple[int, int, int]], need: Budget
) -> None:
    budgets, total = {}, (0, 0, 0)
    for units, step in enumerate(steps, 1):
        total = (total[0] + step[0] + 1, total[1] + step[1], total[2] + step[2])
        budgets[PricePoint(units)] = Budget(*total)
    tariff = Tariff(budgets)
    covering = [
        price
        for price, of in budgets.items()
        if need.input_octets <= of.input_octets
        and need.output_tokens <= of.output_tokens
        and need.images <= of.images
    ]
    assert tariff.price(need) == min(covering, default=None)
    asked = Asked(need.input_octets, need.output_tokens, images=need.images)
    assert Tariff(budgets, image_octets=0).price_of(asked) == tariff.price(need)
    assert Tariff.decode(tariff.encode()) == tariff


@pytest.mark.parametrize(
    "budgets",
    [
        {C1: Budget(1, 1), C4: Budget(1, 1)},
        {C1: Budget(2, 1), C4: Budget(1, 2)},
        {C1: Budget(1, 1, 1), C4: Budget(2, 2)},
        {C4: Budget(1, 1), C1: Budget(2, 2)},
        {C1: Budget(1, 1), C4: Budget(3, 3), C16: Budget(2, 4)},
    ],
    ids=["equal", "less-input", "fewer-images", "reversed", "in-the-middle"],
)
def test_budgets_that_do_not_grow_are_refused(budgets: dict[PricePoint, Budget]) -> None:
    with pytest.raises(ValueError, match="grow"):
        Tariff(budgets)
    with pytest.raises(MalformedMessage):
        Tariff.decode({str(price): of.encode() for price, of in budgets.items()})


def test_what_a_token_buys_is_shared_by_the_choices() -> None:
    tariff = Tariff({C1: Budget(10, 20), C4: Budget(40, 50, 1)})
    bought = [
        (price, choices, tariff.limit(price, choices))
        for price in (C1, PricePoint(2), C4, C16)
        for choices in (1, 3)
    ]
    assert [limit for _, _, limit in bought] == [20, 6, 20, 6, 50, 16, 50, 16]
    with pytest.raises(ValueError, match="less than any"):
        Tariff({C4: Budget(1, 1)}).limit(C1, 1)


@pytest.mark.parametrize(
    ("asked", "need"),
    [
        (Asked(7), Budget(7, 1)),
        (Asked(7, limit=5), Budget(7, 5)),
        (Asked(7, limit=0), Budget(7, 0)),
        (Asked(7, choices=3), Budget(7, 3)),
        (Asked(7, limit=5, choices=3), Budget(7, 15)),
        (Asked(7, images=2), Budget(7 + 2 * 100, 1, 2)),
        (Asked(MAX_AMOUNT, images=1), Budget(MAX_AMOUNT, 1, 1)),
        (Asked(0, limit=MAX_AMOUNT, choices=2), Budget(0, MAX_AMOUNT)),
    ],
)
def test_what_a_request_needs(asked: Asked, need: Budget) -> None:
    assert Tariff({C1: Budget(1, 1)}, image_octets=100).need(asked) == need


def test_an_image_counts_as_a_number_of_octets() -> None:
    assert Tariff({}).image_octets == 6144
    for octets in (0, MAX_AMOUNT):
        assert Tariff({}, octets).image_octets == octets
    for octets in (-1, MAX_AMOUNT + 1):
        with pytest.raises(ValueError, match="image"):
            Tariff({}, octets)


def test_a_free_model_has_no_price() -> None:
    free = Tariff.decode({"free": True})
    assert free.is_free
    assert not TARIFF.is_free
    assert free.price(Budget(0, 0)) is None
    assert Tariff.decode(free.encode()) == free


ONE = {"input_octets": 1, "output_tokens": 1, "images": 0}


@pytest.mark.parametrize(
    "members",
    [
        None,
        [],
        {},
        "free",
        {"free": False},
        {"free": 1},
        {"free": True, "c1": ONE},
        {"c0": ONE},
        {"c1": None},
        {"c1": []},
        {"c1": {}},
        {"c1": {**ONE, "more": 1}},
        {"c1": {"input_octets": 1, "output_tokens": 1}},
        {"c1": {**ONE, "images": "0"}},
        {"c1": {**ONE, "images": True}},
        {"c1": {**ONE, "images": 0.0}},
        {"c1": {**ONE, "images": None}},
        {"c1": {**ONE, "images": -1}},
        {"c1": {**ONE, "images": MAX_AMOUNT + 1}},
    ],
    ids=str,
)
def test_what_is_no_tariff_is_refused(members: Any) -> None:
    with pytest.raises(MalformedMessage):
        Tariff.decode(members)


def test_an_amount_has_its_range() -> None:
    assert Budget(MAX_AMOUNT, 0).covers(Budget(MAX_AMOUNT, 0))
    for amounts in ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, MAX_AMOUNT + 1, 0)):
        with pytest.raises(ValueError, match="negative"):
            Budget(*amounts)


@pytest.mark.parametrize(
    "asked",
    [
        Asked(1, limit=2**31 - 1, choices=2**31 - 1),
        Asked(MAX_AMOUNT + 1),
        Asked(1, images=MAX_AMOUNT),
        Asked(10**40, 10**40, 10**40, 10**40),
    ],
)
def test_more_than_can_be_written_is_too_much(asked: Asked) -> None:
    tariff = Tariff({PricePoint(1): Budget(10**9, 10**9, 10**9)})
    assert tariff.price(tariff.need(asked)) is None
    assert tariff.price_of(asked) is None
    most = Tariff({PricePoint(1): Budget(MAX_AMOUNT, MAX_AMOUNT, MAX_AMOUNT)})
    assert most.price_of(asked) == most.price(most.need(asked)) == PricePoint(1)

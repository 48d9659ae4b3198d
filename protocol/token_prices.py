"""What a token buys: price points, and the budget of each for a model.

A price point is named after what it costs, `c1` or `c16`, in units that only the issuer knows. The
price of a request follows from what it may cost at most and is known before it is answered, so
that who asks and who answers compute the same.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import ge

from protocol.errors import MalformedMessage

MAX_AMOUNT = (1 << 53) - 1
"""The largest integer that every reader of JSON keeps."""

MAX_PRICES = 8
"""Each price point is a crowd of its own, and what was bought tells it."""

_PRICE = re.compile(r"c([1-9][0-9]{0,5})")


@dataclass(frozen=True, slots=True, order=True)
class PricePoint:
    """A price point, ordered by what it costs; ValueError for less than 1 or above 999,999."""

    units: int

    def __post_init__(self) -> None:
        if not 0 < self.units < 1_000_000:
            raise ValueError("a price point costs 1 to 999,999 units")

    def __str__(self) -> str:
        return f"c{self.units}"

    @classmethod
    def decode(cls, name: object) -> "PricePoint":
        """Return the price point of that name, or raise MalformedMessage."""
        match = _PRICE.fullmatch(name) if isinstance(name, str) else None
        if match is None:
            raise MalformedMessage("not the name of a price point")
        return cls(int(match[1]))


@dataclass(frozen=True, slots=True)
class Budget:
    """What a request may have, and what a token of a price point buys of one model."""

    input_octets: int
    output_tokens: int
    images: int = 0

    def __post_init__(self) -> None:
        if not all(0 <= amount <= MAX_AMOUNT for amount in self.amounts):
            raise ValueError("a budget is of numbers that are not negative")

    @property
    def amounts(self) -> tuple[int, int, int]:
        """The three amounts, in one order."""
        return self.input_octets, self.output_tokens, self.images

    def covers(self, other: "Budget") -> bool:
        """Tell whether a request of `other` may have all that it needs."""
        return all(map(ge, self.amounts, other.amounts))

    def encode(self) -> dict[str, int]:
        """Return the members that stand in JSON."""
        return dict(zip(_AMOUNTS, self.amounts, strict=True))

    @classmethod
    def decode(cls, members: object) -> "Budget":
        """Return the budget that exactly these members are, or raise MalformedMessage."""
        if not isinstance(members, dict) or members.keys() != set(_AMOUNTS):
            raise MalformedMessage("not the three amounts of a budget")
        amounts = [_amount(members[name]) for name in _AMOUNTS]
        try:
            return cls(*amounts)
        except ValueError as error:
            raise MalformedMessage(str(error)) from None


_AMOUNTS = ("input_octets", "output_tokens", "images")


@dataclass(frozen=True, slots=True)
class Tariff:
    """The budgets of one model by price point; of a model that costs nothing there are none."""

    budgets: Mapping[PricePoint, Budget]

    def __post_init__(self) -> None:
        ordered = [self.budgets[price] for price in sorted(self.budgets)]
        # Else a dearer token would be refused where a cheaper one is taken.
        for cheaper, dearer in pairwise(ordered):
            if cheaper == dearer or not dearer.covers(cheaper):
                raise ValueError("budgets do not grow with the price")

    @property
    def is_free(self) -> bool:
        """Whether nobody pays for this model."""
        return not self.budgets

    def price(self, need: Budget) -> PricePoint | None:
        """Return the cheapest price point that covers `need`; None where none does."""
        prices = (price for price in sorted(self.budgets) if self.budgets[price].covers(need))
        return next(prices, None)

    def encode(self) -> dict[str, object]:
        """Return the members that stand in JSON."""
        if self.is_free:
            return {"free": True}
        return {str(price): self.budgets[price].encode() for price in sorted(self.budgets)}

    @classmethod
    def decode(cls, members: object) -> "Tariff":
        """Return the tariff in a JSON object, or raise MalformedMessage."""
        if not isinstance(members, dict) or not members:
            raise MalformedMessage("a model that is neither free nor has budgets")
        if members.keys() == {"free"} and members["free"] is True:
            return cls({})
        budgets = {PricePoint.decode(name): Budget.decode(of) for name, of in members.items()}
        try:
            return cls(budgets)
        except ValueError as error:
            raise MalformedMessage(str(error)) from None


def _amount(value: object) -> int:
    if type(value) is not int:
        raise MalformedMessage("an amount that is no integer")
    return value

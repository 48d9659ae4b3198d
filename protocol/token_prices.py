"""What a token buys: price points, and the budget of each for a model.

A price point is named after what it costs, `c1` or `c16`, in units that only the issuer knows. The
price of a request follows from what it may cost at most and is known before it is answered, so
that who asks and who answers compute the same: `token_asked` has what is read of its JSON.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from protocol.errors import MalformedMessage

MAX_AMOUNT = (1 << 53) - 1
"""The largest integer that every reader of JSON keeps."""

MAX_PRICES = 8
"""Each price point is a crowd of its own, and what was bought tells it."""

IMAGE_OCTETS = 6144
"""What an image counts as beside the octets that it has, where its model's tariff says no other."""

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
        amounts = self.amounts
        if min(amounts) < 0 or max(amounts) > MAX_AMOUNT:
            raise ValueError("a budget is of numbers that are not negative")

    @property
    def amounts(self) -> tuple[int, int, int]:
        """The three amounts, in one order."""
        return self.input_octets, self.output_tokens, self.images

    def covers(self, other: "Budget") -> bool:
        """Tell whether a request of `other` may have all that it needs."""
        return (
            self.input_octets >= other.input_octets
            and self.output_tokens >= other.output_tokens
            and self.images >= other.images
        )

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
_IMAGE_MEMBER = "image_octets"


class Asked(NamedTuple):
    """What of a request decides about its price.

    `octets` are those of its content, `choices` the answers that are made, `limit` the tokens that
    each of them may have; None where the request names no limit. Documents count as `images`.
    """

    octets: int
    limit: int | None = None
    choices: int = 1
    images: int = 0


@dataclass(frozen=True, slots=True)
class Tariff:
    """The budgets of one model by price point; of a model that costs nothing there are none."""

    budgets: Mapping[PricePoint, Budget]
    image_octets: int = IMAGE_OCTETS
    _ordered: Sequence[tuple[PricePoint, Budget]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.image_octets <= MAX_AMOUNT:
            raise ValueError("an image counts as a number of octets that is not negative")
        ordered = tuple(sorted(self.budgets.items(), key=_price_of))
        # Else a dearer token would be refused where a cheaper one is taken.
        for (_, cheaper), (_, dearer) in pairwise(ordered):
            if cheaper == dearer or not dearer.covers(cheaper):
                raise ValueError("budgets do not grow with the price")
        object.__setattr__(self, "_ordered", ordered)

    @property
    def is_free(self) -> bool:
        """Whether nobody pays for this model."""
        return not self.budgets

    def price(self, need: Budget) -> PricePoint | None:
        """Return the cheapest price point that covers `need`; None where none does."""
        for price, budget in self._ordered:
            if budget.covers(need):
                return price
        return None

    def need(self, asked: Asked) -> Budget:
        """Return what a request needs; where it names no limit, a token for each choice."""
        return Budget(*self._amounts(asked))

    def price_of(self, asked: Asked) -> PricePoint | None:
        """Do what `price` does for what a request needs."""
        octets, tokens, images = self._amounts(asked)
        for price, budget in self._ordered:
            if (
                octets <= budget.input_octets
                and tokens <= budget.output_tokens
                and images <= budget.images
            ):
                return price
        return None

    def _amounts(self, asked: Asked) -> tuple[int, int, int]:
        octets, limit, choices, images = asked
        octets += self.image_octets * images
        tokens = choices if limit is None else choices * limit
        # Whoever asks for more than can be written has the answer of who asks for too much.
        return min(octets, MAX_AMOUNT), min(tokens, MAX_AMOUNT), min(images, MAX_AMOUNT)

    def limit(self, price: PricePoint, choices: int) -> int:
        """Return how many tokens each choice may have for a token of `price`, or of more.

        ValueError for a token that is worth less than any budget.
        """
        for each, budget in reversed(self._ordered):
            if each.units <= price.units:
                return budget.output_tokens // choices
        raise ValueError("a token that is worth less than any budget")

    def encode(self) -> dict[str, object]:
        """Return the members that stand in JSON."""
        if self.is_free:
            return {"free": True}
        members: dict[str, object] = {
            str(price): budget.encode() for price, budget in self._ordered
        }
        if self.image_octets != IMAGE_OCTETS:
            members[_IMAGE_MEMBER] = self.image_octets
        return members

    @classmethod
    def decode(cls, members: object) -> "Tariff":
        """Return the tariff in a JSON object, or raise MalformedMessage."""
        if not isinstance(members, dict) or not members:
            raise MalformedMessage("a model that is neither free nor has budgets")
        if members.keys() == {"free"} and members["free"] is True:
            return cls({})
        named = {name: of for name, of in members.items() if name != _IMAGE_MEMBER}
        image_octets = _amount(members.get(_IMAGE_MEMBER, IMAGE_OCTETS))
        budgets = {PricePoint.decode(name): Budget.decode(of) for name, of in named.items()}
        if not budgets:
            raise MalformedMessage("a model that is neither free nor has budgets")
        try:
            return cls(budgets, image_octets)
        except ValueError as error:
            raise MalformedMessage(str(error)) from None


def _price_of(pair: tuple[PricePoint, Budget]) -> PricePoint:
    return pair[0]


def _amount(value: object) -> int:
    if type(value) is not int:
        raise MalformedMessage("an amount that is no integer")
    return value

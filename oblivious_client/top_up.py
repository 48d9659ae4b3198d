"""Keeping stocks of tokens in the background of `serve`, at times that tell nobody anything.

When less than half of a stock is left, one pack after the other is bought until it is full, each at
a random moment of the next DELAY_SECONDS: a purchase that followed a question at once would tie who
bought to when was asked. No question ever waits for a purchase.
"""

from __future__ import annotations

import random
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from oblivious_client.defaults import PACKS
from oblivious_client.errors import ClientError, UsageError
from oblivious_client.issuance import Buyer
from oblivious_client.route import price_point
from protocol.token_catalogue import Catalogue
from protocol.token_prices import PricePoint

DELAY_SECONDS = 6 * 3600.0
"""Within which a purchase is made once it is due."""

LOOK_SECONDS = 300.0
"""Between two looks at the stocks."""

MOST_KEPT = 10_000
"""Tokens of one price point that can be asked for."""

CatalogueOf = Callable[[], Awaitable[Catalogue | None]]


def read_stocks(text: str) -> dict[PricePoint, int]:
    """Return the stocks that `c1=40,c4=10` asks for; raises UsageError."""
    stocks: dict[PricePoint, int] = {}
    for entry in text.split(","):
        name, _, count = entry.partition("=")
        price = price_point(name)
        if not re.fullmatch(r"[0-9]{1,6}", count) or not 0 < int(count) <= MOST_KEPT:
            raise UsageError(f"not a stock: {entry!r}", advice="write --top-up c1=40,c4=10")
        if price in stocks:
            raise UsageError(f"two stocks of {price}")
        stocks[price] = int(count)
    return stocks


@dataclass(frozen=True, slots=True)
class Stocks:
    """How many tokens of each price point are wanted, and who buys them."""

    buyer: Buyer
    wanted: Mapping[PricePoint, int]


@dataclass(slots=True)
class TopUp:
    """Keeps stocks in a wallet; tells what it did, a sentence a line."""

    stocks: Stocks
    catalogue: CatalogueOf
    tell: Callable[[str], None]
    uniform: Callable[[float, float], float] = random.SystemRandom().uniform
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _due: dict[PricePoint, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Look at the stocks, again and again, until cancelled."""
        while True:
            try:
                await self.look()
            except ClientError as error:
                self.tell(f"tokens were not bought: {error}")
            await self.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Buy what is due, and note what will be."""
        catalogue = await self.catalogue()
        if catalogue is None:
            return
        now = self.stocks.buyer.wallet.clock()
        stock = await anyio.to_thread.run_sync(self._counted, catalogue)
        for price, wanted in self.stocks.wanted.items():
            missing = wanted - stock.get(price, 0)
            due = self._due.get(price)
            if due is None and 2 * missing > wanted:
                self._due[price] = now + self.uniform(0, DELAY_SECONDS)
            elif due is not None and due <= now:
                await self._buy(catalogue, price, missing, now)

    async def _buy(self, catalogue: Catalogue, price: PricePoint, missing: int, now: float) -> None:
        """Buy one pack; if it is refused, or more is missing, there is another moment for it."""
        pack = next((size for size in PACKS if size >= missing), PACKS[-1])
        if missing > 0:
            self._due[price] = now + self.uniform(0, DELAY_SECONDS)
            bought = await anyio.to_thread.run_sync(self.stocks.buyer.buy, catalogue, price, pack)
            self.tell(f"bought {bought.count} tokens of {price}")
            missing -= bought.count
        if missing <= 0:
            del self._due[price]

    def _counted(self, catalogue: Catalogue) -> dict[PricePoint, int]:
        """Return how many tokens there are for this gateway that can be spent for a while."""
        counts: dict[PricePoint, int] = {}
        wallet = self.stocks.buyer.wallet
        for pile in wallet.piles():
            is_here = (pile.issuer, pile.origin) == (catalogue.issuer, catalogue.origin)
            if is_here and pile.redeem_until > wallet.clock() + DELAY_SECONDS:
                counts[pile.price] = counts.get(pile.price, 0) + pile.usable
        return counts

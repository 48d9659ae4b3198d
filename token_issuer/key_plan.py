"""New epochs: when they are, and keys for them that no request can take for one another."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from protocol import base64url
from protocol.token_catalogue import MAX_EPOCHS, Catalogue, CatalogueKey, Epoch
from protocol.token_key import EXPONENT, MODULUS_BYTES, TokenKey
from protocol.token_prices import PricePoint

DAY = 86_400

ISSUE_DAYS = 28
"""For which a key signs. Its tokens are taken for as long again: what ends soon loses money."""

Generate = Callable[[], RSAPrivateKey]


class PlanError(Exception):
    """Keys that no gateway would take were asked for; one sentence says why."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that is not yet kept."""

    entry: CatalogueKey
    private: RSAPrivateKey = field(repr=False)


def generate() -> RSAPrivateKey:
    """Return a fresh key of the size that token type 2 has."""
    return rsa.generate_private_key(EXPONENT, 8 * MODULUS_BYTES)


def next_start(known: Iterable[CatalogueKey], now: int) -> int:
    """Return when the first new epoch begins: where the last known one ends, else today at 0:00."""
    return max([now - now % DAY, *(each.epoch.issue_until for each in known)])


def next_epochs(count: int, start: int, issue_days: int = ISSUE_DAYS) -> Iterator[Epoch]:
    """Yield epochs that follow one another from `start` on, in Unix seconds."""
    length = issue_days * DAY
    for number in range(count):
        begin = start + number * length
        yield Epoch(begin, begin + length, begin + 2 * length)


def new_keys(
    known: Sequence[CatalogueKey],
    epochs: Sequence[Epoch],
    prices: Sequence[PricePoint],
    make: Generate = generate,
    signing: Iterable[CatalogueKey] = (),
) -> list[NewKey]:
    """Return a key for each price point in each epoch; PlanError if no gateway took them all.

    `known` are those whose tokens are still taken, `signing` those that have not been destroyed.
    """
    if len({each.epoch for each in known}) + len(epochs) > MAX_EPOCHS:
        raise PlanError(f"No gateway takes more than {MAX_EPOCHS} epochs at once.")
    taken = {each.key.truncated_id for each in (*known, *signing)}
    places = [(epoch, price) for epoch in epochs for price in sorted(prices)]
    made = [_new_key(epoch, price, taken, make) for epoch, price in places]
    require_catalogue([*known, *(each.entry for each in made)])
    return made


def require_catalogue(keys: Sequence[CatalogueKey]) -> None:
    """Raise PlanError unless a gateway could list exactly these keys."""
    try:
        Catalogue("issuer.invalid", "https://issuer.invalid", "gateway.invalid", tuple(keys), {})
    except ValueError as error:
        raise PlanError(f"No gateway would take these keys together: {error}.") from None


def gateway_tables(keys: Iterable[CatalogueKey]) -> str:
    """Return the tables `[[tokens.keys]]` of a gateway's configuration."""
    return "\n".join(_table(each) for each in keys)


def _new_key(epoch: Epoch, price: PricePoint, taken: set[int], make: Generate) -> NewKey:
    """Return a key whose identifier ends in an octet that is not taken, and take that.

    A request names its key by this octet alone.
    """
    while True:
        private = make()
        key = TokenKey.from_public_key(private.public_key())
        if key.truncated_id not in taken:
            taken.add(key.truncated_id)
            return NewKey(CatalogueKey(price, epoch, key), private)


def _table(key: CatalogueKey) -> str:
    epoch = key.epoch
    lines = (
        "[[tokens.keys]]",
        f'price = "{key.price}"',
        f'token_key = "{base64url.encode(key.key.spki).decode()}"',
        f"issue_from = {_toml_time(epoch.issue_from)}",
        f"issue_until = {_toml_time(epoch.issue_until)}",
        f"redeem_until = {_toml_time(epoch.redeem_until)}",
    )
    return "".join(line + "\n" for line in lines)


def _toml_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

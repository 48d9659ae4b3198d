"""A plain mutator: changes inputs at random, and learns nothing from what they reach."""

import random
from collections.abc import Iterator, Sequence

MOST_CHANGES = 4
MOST_REPEATED = 64
# What parsers compare with, and what lies just beside it.
TELLING = (0x00, 0x01, 0x0A, 0x0D, 0x1F, 0x20, 0x22, 0x3A, 0x3F, 0x40, 0x5B, 0x7B, 0x7F, 0x80, 0xFF)


def mutations(seeds: Sequence[bytes], seed: int, max_bytes: int) -> Iterator[bytes]:
    """Yield changed seeds without end; the same ones for the same arguments."""
    chance = random.Random(seed)  # noqa: S311 (nothing secret)
    pool = list(seeds) or [b""]
    while True:
        data = bytearray(chance.choice(pool))
        for _ in range(chance.randint(1, MOST_CHANGES)):
            _change(data, chance, pool)
        yield bytes(data[:max_bytes])


def _change(data: bytearray, chance: random.Random, pool: Sequence[bytes]) -> None:
    start = chance.randint(0, len(data))
    end = min(len(data), start + chance.randint(0, 8))
    match chance.randrange(7):
        case 0:
            data[start:end] = b""
        case 1:
            data[start:end] = chance.randbytes(chance.randint(0, 8))
        case 2:
            data[start:end] = bytes(chance.choices(TELLING, k=chance.randint(1, 4)))
        case 3:
            data[start:end] = data[start:end] * chance.randint(2, MOST_REPEATED)
        case 4 if start < len(data):
            data[start] ^= 1 << chance.randrange(8)
        case 5:
            other = chance.choice(pool)
            place = chance.randint(0, len(other))
            data[start:end] = other[place : place + chance.randint(1, 64)]
        case _:
            del data[start:]

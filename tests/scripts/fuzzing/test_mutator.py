"""The plain mutator: the same changes for the same seed, of all seeds, and none too long."""

from itertools import islice

from scripts.fuzzing.mutator import mutations

SEEDS = [b"abcdefgh", b"12345678"]


def some(seed: int, seeds: list[bytes] = SEEDS, most: int = 64) -> list[bytes]:
    return list(islice(mutations(seeds, seed, most), 300))


def test_one_seed_is_one_sequence() -> None:
    assert some(1) == some(1)
    assert some(1) != some(2)


def test_what_comes_is_new_and_still_like_what_was_there() -> None:
    made = some(1)
    assert len(set(made)) > 200
    assert any(data.startswith(b"abc") for data in made)
    assert any(data.startswith(b"123") for data in made)
    assert any(b"abc" in data and b"678" in data for data in made)


def test_nothing_is_too_long() -> None:
    assert max(map(len, some(1, [b"x" * 60]))) == 64


def test_there_may_be_no_seed() -> None:
    assert any(some(1, []))

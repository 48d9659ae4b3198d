"""The order of faults: every one in each round, the same for the same seed."""

import itertools
import random

from scripts.soaking.faults import FAULTS, order


def drawn(seed: int, *only: str, count: int = 2 * len(FAULTS)) -> list[str]:
    return [fault.name for fault in itertools.islice(order(random.Random(seed), only), count)]


def test_each_fault_comes_in_each_round() -> None:
    names = drawn(1)
    for each in (names[: len(FAULTS)], names[len(FAULTS) :]):
        assert sorted(each) == sorted(fault.name for fault in FAULTS)


def test_a_seed_gives_one_order() -> None:
    assert drawn(1) == drawn(1)
    assert any(drawn(1) != drawn(seed) for seed in range(2, 9))


def test_some_alone_can_be_asked_for() -> None:
    assert set(drawn(1, "worker", "relay")) == {"worker", "relay"}

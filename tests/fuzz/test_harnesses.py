"""Every harness holds for its seeds and changes of them, and notices each fault that it names."""

from itertools import chain, islice

import pytest

from scripts.fuzzing.harnesses import Harness, load, names
from scripts.fuzzing.minimise import breakage
from scripts.fuzzing.mutator import mutations

MUTATIONS = 200

EVERY = pytest.mark.parametrize("name", names())


def inputs(harness: Harness) -> list[bytes]:
    seeds = harness.beginnings()
    return [*seeds, *islice(mutations(seeds, 1, harness.max_bytes), MUTATIONS)]


@EVERY
def test_the_property_holds(name: str) -> None:
    harness = load(name)
    assert len(harness.beginnings()) > 3
    for data in inputs(harness):
        harness.run(data)


@EVERY
def test_no_input_is_too_short(name: str) -> None:
    harness = load(name)
    for data in chain([b""], (bytes([octet]) for octet in range(256))):
        harness.run(data)


@EVERY
def test_a_fault_is_noticed(name: str) -> None:
    harness = load(name)
    assert harness.faults
    tried = inputs(harness)
    for fault in harness.faults:
        with fault.applied():
            assert any(breakage(harness.run, data) for data in tried), f"unnoticed: {fault}"

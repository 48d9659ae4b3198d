"""A held token goes one way, once."""

import itertools
from collections.abc import Callable

import pytest

from enclave_server.payment.hold import NEXT, Hold, State


class Noting:
    """A store that notes what it is told."""

    def __init__(self) -> None:
        self.done: list[tuple[object, ...]] = []

    async def hold(self, nullifier: bytes) -> bytes:
        raise AssertionError

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        self.done.append(("commit", nullifier, ticket))

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        self.done.append(("give back", nullifier, ticket, after))

    async def close(self) -> None:
        raise AssertionError


STEPS: list[tuple[Callable[[Hold], None], State, tuple[object, ...]]] = [
    (Hold.commit, State.SPENT, ("commit", b"n", b"t")),
    (Hold.give_back, State.FREE, ("give back", b"n", b"t", 0.0)),
    (lambda hold: hold.give_back(10), State.FREE, ("give back", b"n", b"t", 10)),
]


@pytest.mark.parametrize(("first", "second"), [*itertools.product(range(3), repeat=2)])
def test_the_second_step_is_refused_and_never_told(first: int, second: int) -> None:
    store = Noting()
    hold = Hold(store, b"n", b"t")
    assert hold.state is State.HELD
    step, state, told = STEPS[first]
    step(hold)
    with pytest.raises(ValueError, match="cannot become"):
        STEPS[second][0](hold)
    assert (hold.state, store.done) == (state, [told])


def test_nothing_follows_an_end() -> None:
    assert set(NEXT) == {State.HELD}
    assert NEXT[State.HELD] == {State.FREE, State.SPENT}

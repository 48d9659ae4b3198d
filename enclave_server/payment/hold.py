"""A token that is held for one request: spent or given back, once."""

import enum

from enclave_server.payment.store import Store


class State(enum.Enum):
    """Where a token is on its way."""

    __hash__ = object.__hash__  # that of Enum is Python's, and each request asks for it

    FREE = enum.auto()
    HELD = enum.auto()
    SPENT = enum.auto()


NEXT = {State.HELD: frozenset({State.FREE, State.SPENT})}
"""What may follow for a request; the others end it."""


class Hold:
    """A held token; ValueError for a step that may not follow."""

    __slots__ = ("_nullifier", "_store", "_ticket", "state")

    def __init__(self, store: Store, nullifier: bytes, ticket: bytes) -> None:
        self._store, self._nullifier, self._ticket = store, nullifier, ticket
        self.state = State.HELD

    def commit(self) -> None:
        """Spend the token."""
        self._step(State.SPENT)
        self._store.commit(self._nullifier, self._ticket)

    def give_back(self, after: float = 0.0) -> None:
        """Free the token, `after` so many seconds."""
        self._step(State.FREE)
        self._store.give_back(self._nullifier, self._ticket, after)

    def _step(self, to: State) -> None:
        if to not in NEXT.get(self.state, frozenset()):
            raise ValueError(f"a token that is {self.state.name} cannot become {to.name}")
        self.state = to

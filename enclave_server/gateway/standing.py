"""Where an enclave of a cluster stands: what of each key it opens, others open, or nobody does."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.slots import place_of


class Ownership(enum.IntEnum):
    """Whose a slot of a key is. Each is one octet of a standing."""

    OWN = 0
    OTHERS = 1
    NOBODYS = 2


@dataclass(frozen=True, slots=True)
class Standing:
    """By key identifier 256 octets of Ownership, and what a front is told of them, as JSON."""

    ownership: Mapping[int, bytes]
    statement: bytes

    def of(self, data: bytes) -> Ownership:
        """Return whose a sealed request is, by its first 39 octets: nothing is opened for that.

        What no key could open, for its size or its identifier, is left to whoever opens.
        """
        place = place_of(data)
        slots = None if place is None else self.ownership.get(place.key_id)
        return Ownership.OWN if place is None or slots is None else Ownership(slots[place.slot])

"""What one worker may keep in memory for all of its peers, and who keeps how much of it.

Requests, whole answers under way and what is kept of streams are counted here together, each by
whoever keeps it. Counts are of octets that a peer can make large; what each connection takes anyway
is bounded by how many there may be.
"""

MOST = 256 * 1024 * 1024
HOLDERS = 1_000


class Memory:
    """So many octets for all, of which each of so many holders may always have its share."""

    __slots__ = ("_most", "_share", "held")

    def __init__(self, most: int = MOST, holders: int = HOLDERS) -> None:
        self._most = most
        self._share = most // holders
        self.held = 0

    def has_room(self, octets: int, others: int) -> bool:
        """Whether one may hold so many beside the others: its own share always, all if alone.

        So a few large ones cannot shut out the small ones.
        """
        return octets + others <= self._most or others == 0 or octets <= self._share


class Holding:
    """What one holder has taken of a memory. Give it back, whatever happens."""

    __slots__ = ("_memory", "_octets")

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._octets = 0

    def hold(self, octets: int) -> None:
        """Take so many octets in all, instead of what was held before, room or not."""
        self._memory.held += octets - self._octets
        self._octets = octets

    def add(self, octets: int) -> None:
        """Take so many octets more, room or not."""
        self.hold(self._octets + octets)

    def has_room(self, octets: int) -> bool:
        """Whether so many may be held in all."""
        return self._memory.has_room(octets, self._memory.held - self._octets)

    def takes(self, octets: int) -> bool:
        """Hold so many in all if there is room; tell whether there was."""
        if not self.has_room(octets):
            return False
        self.hold(octets)
        return True

    def give_back(self) -> None:
        """Hold nothing."""
        self.hold(0)

    def __enter__(self) -> "Holding":
        return self

    def __exit__(self, *_: object) -> None:
        self.give_back()

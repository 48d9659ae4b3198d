"""What an enclave of a cluster may open with one generation of keys."""

from dataclasses import dataclass

from protocol.slots import SlotTable


@dataclass(frozen=True, slots=True)
class Holding:
    """A generation's table, made with its keys, and under which identifier this enclave got both.

    Neither ever changes while the generation is held, and an identifier is used for one stay in a
    cluster. So an enclave that lost a generation, and its memory of what it opened with it, owns
    none of that generation's slots when it is given the keys again.
    """

    table: SlotTable
    member: bytes

    @property
    def slots(self) -> range:
        """The slots whose requests this enclave opens: one range, which may be empty."""
        runs = self.table.owned_by(self.member)
        return range(runs[0].first, runs[0].last + 1) if runs else range(0)

    def owners(self) -> tuple[bytes, ...]:
        """Return the owner of each slot."""
        return tuple(run.owner for run in self.table.runs for _ in range(run.first, run.last + 1))

"""Enclaves on this machine that share their keys: what each is configured with, and its holes.

As between hosts, an enclave reaches the others by holes alone, each of which leads to the door of
one other, and from there to its enclave, or to nobody as long as that does not run. Holes and door
of an enclave are one process: when that ends, the enclave has left its cluster.
"""

from dataclasses import dataclass
from pathlib import Path

CLUSTER = """
[cluster]
enabled = true
listen = "{listen}"
peers = [{peers}]
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of the enclave of this `number`, from 1 on, among `count` in a `folder`."""

    folder: Path
    number: int
    count: int

    @property
    def address(self) -> str:
        """Where it answers requests."""
        return f"unix:{self.folder / f'enclave{self.number}.sock'}"

    @property
    def root(self) -> Path:
        """The file of the root that all simulated modules are under."""
        return self.folder / "root.pem"

    def settings(self, more: str = "") -> str:
        """Return its configuration (TOML): `more`, which names no [cluster], and its place."""
        peers = ", ".join(f'"{self._hole(other)}"' for other in self._others())
        return more + CLUSTER.format(listen=self._peer, peers=peers)

    def ways(self) -> list[str]:
        """Return the options of a host proxy that is its door, and its holes to the others."""
        holes = (f"{self._hole(other)}={self._door(other)}" for other in self._others())
        door = ["--listen", self._door(self.number), "--connect", self._peer]
        # Whoever knocks should know at once that nobody is there.
        return [*door, "--retry-seconds", "0", *(w for h in holes for w in ("--egress", h))]

    @property
    def _peer(self) -> str:
        return f"unix:{self.folder / f'peer{self.number}.sock'}"

    def _others(self) -> list[int]:
        return [other for other in range(1, self.count + 1) if other != self.number]

    def _door(self, number: int) -> str:
        return f"unix:{self.folder / f'door{number}.sock'}"

    def _hole(self, number: int) -> str:
        return f"unix:{self.folder / f'hole{self.number}-{number}.sock'}"

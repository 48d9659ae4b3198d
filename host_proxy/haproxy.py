"""HAProxy's runtime interface (Management Guide, 9.3): what is read from it and told to it.

The names here are those of scripts/deploy/haproxy-front.cfg.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

BACKEND: Final = "oblivious_members"
MAP_NAME: Final = "oblivious-keys.map"
TABLE: Final = "oblivious_counts"
TOLD: Final = "told"  # a key of the map that is there once all others are
UNKNOWN_ROW: Final = 1  # of the table: answered by the front, nobody having the key
MISDIRECTED_ROW: Final = 2  # answered 421 by an enclave that is not the owner
ANY_MAINTENANCE: Final = 0x01 | 0x02 | 0x04 | 0x20  # of srv_admin_state, whoever set it
ANY_DRAIN: Final = 0x08 | 0x10
COMMAND_BYTES: Final = 8192  # of one line to it, which holds half of its buffer


class RuntimeFault(Exception):
    """HAProxy said something else than its manual says."""


class Admission(Enum):
    """What the operator has set a server to: `set server oblivious_members/NAME state …`."""

    READY = "ready"
    DRAIN = "drain"  # it is asked by those who hold its keys, and its list is told no more
    OUT = "maint"  # nothing new; what is under way ends whole


@dataclass(frozen=True, slots=True)
class Server:
    """One line `server` of the front's configuration, as it stands now."""

    name: str
    host: str
    port: int
    admission: Admission
    weight: int


@dataclass(frozen=True, slots=True)
class Overview:
    """What a round begins with."""

    servers: tuple[Server, ...]
    map_reference: str  # by which commands name the map
    unknown: int
    misdirected: int


OVERVIEW: Final = f"show servers state {BACKEND};show map;show table {TABLE}\n".encode()


def overview(said: bytes) -> Overview:
    """Return what the answer to OVERVIEW tells, or raise RuntimeFault."""
    lines = said.decode("utf-8", "replace").splitlines()
    reference = next((r for line in lines for r in _map_reference(line)), None)
    servers = tuple(_servers(lines))
    if reference is None or not servers:
        raise RuntimeFault(f"no backend {BACKEND} or no map {MAP_NAME}")
    counts = dict(_counts(lines))
    return Overview(servers, reference, counts.get(UNKNOWN_ROW, 0), counts.get(MISDIRECTED_ROW, 0))


def show_map(reference: str) -> bytes:
    """Return the command that lists a map."""
    return f"show map {reference}\n".encode()


def entries(said: bytes) -> dict[str, str]:
    """Return the entries of a map: key, value."""
    found: dict[str, str] = {}
    for line in said.decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"0x[0-9a-f]+ (\S+) (\S+)", line.strip())
        if match is not None:
            found[match[1]] = match[2]
    return found


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the map."""

    kind: str  # add, set, del
    key: str
    value: str = ""

    def command(self, reference: str) -> str:
        """Return what makes it."""
        return f"{self.kind} map {reference} {self.key} {self.value}".rstrip()


def changes(present: Mapping[str, str], places: Mapping[str, str]) -> list[Change]:
    """Return what makes the present map hold `places`; what is added comes first."""
    wanted = {**places, TOLD: "all"}
    added = [Change("add", key, wanted[key]) for key in wanted.keys() - present.keys()]
    common = wanted.keys() & present.keys()
    moved = [Change("set", key, wanted[key]) for key in common if wanted[key] != present[key]]
    gone = [Change("del", key) for key in present.keys() - wanted.keys()]
    return [each for kind in (added, moved, gone) for each in sorted(kind, key=lambda c: c.key)]


def weight(name: str, value: int) -> str:
    """Return the command that has a server take part in balancing, or not."""
    return f"set server {BACKEND}/{name} weight {value}"


def batches(commands: Iterable[str]) -> Iterator[bytes]:
    """Yield the commands in lines that HAProxy can read."""
    line: list[str] = []
    size = 0
    for command in commands:
        if line and size + len(command) >= COMMAND_BYTES:
            yield (";".join(line) + "\n").encode()
            line, size = [], 0
        line.append(command)
        size += len(command) + 1
    if line:
        yield (";".join(line) + "\n").encode()


def _map_reference(line: str) -> Iterator[str]:
    match = re.match(r"([0-9]+) \((?:\S*/)?([^/\s]+)\) ", line)
    if match is not None and match[2] == MAP_NAME:
        yield f"#{match[1]}"


def _servers(lines: Iterable[str]) -> Iterator[Server]:
    columns: list[str] = []
    for line in lines:
        if line.startswith("# be_id "):
            columns = line.removeprefix("# ").split()
        elif columns and line.split()[1:2] == [BACKEND]:
            yield _server(dict(zip(columns, line.split(), strict=False)))


def _server(columns: Mapping[str, str]) -> Server:
    try:
        state = int(columns["srv_admin_state"])
        return Server(
            columns["srv_name"],
            columns["srv_addr"],
            int(columns["srv_port"]),
            _admission(state),
            int(columns["srv_uweight"]),
        )
    except (KeyError, ValueError) as error:
        raise RuntimeFault("a server's state is not as HAProxy's manual has it") from error


def _admission(state: int) -> Admission:
    if state & ANY_MAINTENANCE:
        return Admission.OUT
    return Admission.DRAIN if state & ANY_DRAIN else Admission.READY


def _counts(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    for line in lines:
        match = re.match(r"0x[0-9a-f]+: key=([0-9]+) .*gpc0=([0-9]+)", line)
        if match is not None:
            yield int(match[1]), int(match[2])

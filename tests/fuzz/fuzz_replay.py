"""The memory of answered requests agrees with a dictionary, whatever comes, however time goes.

Each five octets are a request: which one, until when, and how the clock has moved.
"""

import math

from enclave_server import shared_table
from enclave_server.gateway.replay import ReplayFilter, Verdict
from tests.fuzz.faults import replaced, returns
from tests.fuzz.reading import Octets

START = 1_800_000_000.0
CAPACITY = 16  # two buckets, of 64 slots in all

FAULTS = (
    returns("enclave_server.shared_table.SharedTable.find", lambda slot: None),
    returns("enclave_server.shared_table.ceiling", lambda until: until - 2),
    replaced("enclave_server.shared_table.SharedTable.advance", lambda table, now: now),
    replaced("enclave_server.shared_table.SharedTable.add", lambda table, *_: True),
)


def seeds() -> list[bytes]:
    """Return requests that come twice, late, and while the clock goes back; and very many."""
    twice = bytes([1, 10, 0, 1, 0, 1, 10, 0, 0, 0])
    late = bytes([1, 10, 0, 1, 0, 1, 10, 0, 12, 0])
    back = bytes([1, 10, 0, 1, 0, 2, 30, 0, 12, 0, 1, 10, 0, 12, 1, 1, 40, 9, 0, 0])
    many = b"".join(bytes([number, 50, 7, 0, 0]) for number in range(140))
    return [twice, late, back, many, many + twice + back]


def run(data: bytes) -> None:
    """Compare the table with a dictionary that never forgets too early."""
    table = ReplayFilter(CAPACITY, random=bytes)
    known: dict[bytes, int] = {}
    now = time = START
    octets = Octets(data)
    try:
        while octets:
            enc, until = octets.take(1), START + octets.number() + octets.number() / 256
            now += octets.number() * (-1 if octets.number() % 2 else 1) / 2
            verdict, time = table.insert(enc, until, now), max(time, now)
            held = known.get(enc, -math.inf) >= time
            live = sum(each >= time for each in known.values())
            assert verdict is _expected(verdict, until < time, held, live)
            if verdict is Verdict.NEW:
                known[enc] = math.ceil(until)
            assert table.time(START) == time
    finally:
        table.close()


def _expected(verdict: Verdict, is_late: bool, held: bool, live: int) -> Verdict:
    if is_late:
        return Verdict.EXPIRED
    if held:
        return Verdict.REPEATED
    # Both buckets of one can be full before the table is, and not before one bucket is.
    may_be_full = live >= shared_table.SLOTS
    return Verdict.FULL if verdict is Verdict.FULL and may_be_full else Verdict.NEW

"""Tests of the memory of answered requests, alone and between processes."""

import fcntl
import hashlib
import os
import signal
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_server.gateway.replay import ReplayFilter, Verdict
from enclave_server.shared_table import SLOTS, SharedTable

NOW = 1_800_000_000.0


def encs(number: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % index).digest() for index in range(number)]


def in_child(work: Callable[[], int]) -> int:
    """Return what `work` returns in a forked process."""
    pid = os.fork()
    if pid == 0:
        status = 255
        try:
            status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(
    "look",
    [lambda table: table.time(NOW), lambda table: table.insert(b"a" * 32, NOW + 300, NOW)],
    ids=["time", "insert"],
)
def test_whoever_looks_waits_for_who_writes(look: Callable[[ReplayFilter], object]) -> None:
    replays = ReplayFilter(100)
    held, holding = os.pipe()
    ending, ended = os.pipe()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(replays._table._fd, fcntl.LOCK_EX)
        os.write(holding, b".")
        time.sleep(0.2)
        os.write(ended, b".")  # and the lock ends with the process
        os._exit(0)
    assert os.read(held, 1) == b"."
    look(replays)
    os.set_blocking(ending, False)
    assert os.read(ending, 1) == b"."  # BlockingIOError where nobody waited
    os.waitpid(pid, 0)
    for descriptor in (held, holding, ending, ended):
        os.close(descriptor)


def test_a_request_is_new_once() -> None:
    replays = ReplayFilter(100)
    assert replays.insert(b"a" * 32, NOW + 300, NOW) is Verdict.NEW
    assert replays.insert(b"a" * 32, NOW + 300, NOW) is Verdict.REPEATED
    assert replays.insert(b"b" * 32, NOW + 300, NOW) is Verdict.NEW


def test_a_tag_is_found_behind_one_that_ends_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    tags = {b"before": bytes(11) + b"\5", b"after": b"\5" * 12}

    class Digest:
        def __init__(self, **_: object) -> None:
            self._tag = b""

        def copy(self) -> "Digest":
            return Digest()

        def update(self, enc: bytes) -> None:
            self._tag = tags[enc]

        def digest(self) -> bytes:
            return self._tag + bytes(16)  # in the same bucket both

    monkeypatch.setattr(hashlib, "blake2b", Digest)
    replays = ReplayFilter(100)
    told = [replays.insert(enc, NOW + 300, NOW) for enc in (b"before", b"after", b"after")]
    assert told == [Verdict.NEW, Verdict.NEW, Verdict.REPEATED]


def test_it_is_remembered_to_the_last_moment_and_no_longer_accepted_after() -> None:
    replays = ReplayFilter(100)
    until = NOW + 300.25
    assert replays.insert(b"a" * 32, until, NOW) is Verdict.NEW
    assert replays.insert(b"a" * 32, until, until) is Verdict.REPEATED
    assert replays.insert(b"a" * 32, until, until + 0.001) is Verdict.EXPIRED


def test_a_clock_that_goes_back_revives_nothing() -> None:
    replays = ReplayFilter(1)
    assert replays.insert(b"a" * 32, NOW + 10, NOW) is Verdict.NEW
    for enc in encs(4 * SLOTS):
        replays.insert(enc, NOW + 100, NOW + 20)  # reclaims the first
    assert replays.insert(b"a" * 32, NOW + 10, NOW) is Verdict.EXPIRED
    assert replays.time(NOW) == NOW + 20


def test_it_refuses_rather_than_forgets() -> None:
    replays = ReplayFilter(1)
    verdicts = {enc: replays.insert(enc, NOW + 300, NOW) for enc in encs(200)}
    kept = [enc for enc, verdict in verdicts.items() if verdict is Verdict.NEW]
    assert SLOTS <= len(kept) <= 2 * SLOTS
    assert {replays.insert(enc, NOW + 300, NOW) for enc in kept} == {Verdict.REPEATED}
    refused = set(verdicts.values()) - {Verdict.NEW}
    assert refused == {Verdict.FULL}


def test_room_comes_back_with_time() -> None:
    replays = ReplayFilter(1)
    *many, late, later = encs(202)
    for enc in many:
        replays.insert(enc, NOW + 300, NOW)
    assert replays.insert(late, NOW + 900, NOW + 300) is Verdict.FULL
    assert replays.insert(later, NOW + 900, NOW + 301) is Verdict.NEW


@pytest.mark.parametrize("capacity", [64, 1000, 20_000])
def test_the_capacity_is_there(capacity: int) -> None:
    replays = ReplayFilter(capacity)
    verdicts = {replays.insert(enc, NOW + 300, NOW) for enc in encs(capacity)}
    assert verdicts == {Verdict.NEW}


def test_memory_is_bounded_and_known() -> None:
    replays = ReplayFilter(1 << 16)
    assert replays.size == 512 + (1 << 16) * 32


@pytest.mark.slow
def test_a_million_entries() -> None:
    replays = ReplayFilter(1 << 20)
    million = encs(1 << 20)
    assert {replays.insert(enc, NOW + 300, NOW) for enc in million} == {Verdict.NEW}
    assert {replays.insert(enc, NOW + 300, NOW) for enc in million} == {Verdict.REPEATED}


Step = tuple[int, float, float]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 40), st.floats(0, 50), st.floats(0, 9)), max_size=120))
def test_it_agrees_with_a_dictionary(steps: list[Step]) -> None:
    replays = ReplayFilter(200)
    known: dict[bytes, float] = {}
    now = NOW
    for number, lifetime, pause in steps:
        now += pause
        enc, until = number.to_bytes(32, "big"), float(int(now + lifetime + 1))
        expected = Verdict.REPEATED if known.get(enc, 0) >= now else Verdict.NEW
        assert replays.insert(enc, until, now) is expected
        if expected is Verdict.NEW:
            known[enc] = until


def test_processes_share_it() -> None:
    replays = ReplayFilter(100)

    def insert() -> int:
        return replays.insert(b"a" * 32, NOW + 300, NOW).value

    assert in_child(insert) == Verdict.NEW.value
    assert in_child(insert) == Verdict.REPEATED.value
    assert insert() == Verdict.REPEATED.value


def test_many_processes_at_once_let_each_request_through_once() -> None:
    replays = ReplayFilter(5000)
    requests = encs(500)
    read, write = os.pipe()

    def insert_all() -> None:
        new = [replays.insert(enc, NOW + 300, NOW) is Verdict.NEW for enc in requests]
        os.write(write, bytes([sum(new) & 0xFF, sum(new) >> 8]))

    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                insert_all()
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    sums = os.read(read, 8)
    os.close(read)
    os.close(write)
    assert sum(sums[0::2]) + 256 * sum(sums[1::2]) == len(requests)


def test_a_process_that_is_killed_leaves_no_lock() -> None:
    replays = ReplayFilter(100)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:

        def hang(now: float) -> float:
            os.write(write, b"!")
            time.sleep(60)
            return now

        SharedTable.advance = lambda self, now: hang(now)  # type: ignore[method-assign]  # inside the lock
        replays.insert(b"a" * 32, NOW + 300, NOW)
        os._exit(0)
    assert os.read(read, 1) == b"!"
    os.close(read)
    os.close(write)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert replays.insert(b"a" * 32, NOW + 300, NOW) is Verdict.NEW


def test_an_entry_takes_thirty_two_octets() -> None:
    """As operators are told; and beside all entries one bucket for the table's time."""
    for capacity in (1 << 10, 1 << 20):
        assert ReplayFilter(capacity).size == 32 * capacity + 512
    assert ReplayFilter(1).size == 3 * 512  # two buckets at the least


def test_what_is_to_be_remembered_for_ever_is_remembered_as_long_as_there_is_room_for() -> None:
    end = 2.0**32 - 1
    replays = ReplayFilter(100)
    for enc, until in ((b"a", end), (b"b", end + 1), (b"c", 1e300)):
        assert replays.insert(enc * 32, until, NOW) is Verdict.NEW
        assert replays.insert(enc * 32, until, end) is Verdict.REPEATED

"""Spent tokens in memory, against a model of what they should be."""

import asyncio
import hashlib
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_server.payment.lifetimes import Lifetimes
from enclave_server.payment.memory_store import MemoryStore
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.shared_table import SLOTS, SharedTable
from tests.support.paid_service import LIFETIMES, MINT, NOW, Clock
from tests.support.private_tokens import WEEK

A, B = (hashlib.sha256(name).digest() for name in (b"a", b"b"))
LEASE = LIFETIMES.lease


class Asked:
    """A store, with its clock, that says what a hold became."""

    def __init__(self, lifetimes: Lifetimes = LIFETIMES, capacity: int = 100) -> None:
        self.clock = Clock()
        self.table = SharedTable("tokens", capacity)
        self.store = MemoryStore(self.table, lifetimes, self.clock)

    def hold(self, nullifier: bytes) -> bytes | Refusal:
        try:
            return asyncio.run(self.store.hold(nullifier))
        except Refused as refused:
            return refused.refusal

    def held(self, nullifier: bytes) -> bytes:
        ticket = self.hold(nullifier)
        assert isinstance(ticket, bytes)
        return ticket


def test_a_token_is_held_once_and_spent_to_the_end() -> None:
    asked = Asked()
    ticket = asked.held(A)
    assert asked.hold(A) is Refusal.IN_USE
    assert isinstance(asked.hold(B), bytes)
    asked.store.commit(A, ticket)
    assert asked.hold(A) is Refusal.SPENT
    asked.clock.now = MINT.epochs[0].redeem_until + 600
    assert asked.hold(A) is Refusal.SPENT
    asked.clock.now += 1
    assert isinstance(asked.hold(A), bytes)  # nobody takes it by now


def test_nothing_is_held_that_could_not_be_kept_as_spent() -> None:
    # A clock that was ahead of all epochs for a moment: the table's time stays there, the gate's
    # goes back and takes tokens again.
    asked = Asked()
    last = max(epoch.redeem_until for epoch in MINT.epochs) + 600
    asked.clock.now, before = last, asked.clock.now
    ticket = asked.held(A)
    asked.store.commit(A, ticket)
    assert asked.hold(A) is Refusal.SPENT
    asked.clock.now = last + 1
    assert asked.hold(B) is Refusal.UNAVAILABLE
    asked.clock.now = before
    assert {asked.hold(name) for name in (A, B)} == {Refusal.UNAVAILABLE}


def test_what_is_given_back_is_free_at_once_or_after_a_while() -> None:
    asked = Asked()
    asked.store.give_back(A, asked.held(A))
    asked.store.give_back(A, asked.held(A), 10)
    assert asked.hold(A) is Refusal.IN_USE
    asked.clock.now += 11
    assert isinstance(asked.hold(A), bytes)


def test_a_lease_ends_and_its_ticket_with_it() -> None:
    asked = Asked()
    first = asked.held(A)
    asked.clock.now += LEASE
    assert asked.hold(A) is Refusal.IN_USE
    asked.clock.now += 1
    second = asked.held(A)
    assert first != second
    asked.store.give_back(A, first)
    assert asked.hold(A) is Refusal.IN_USE
    asked.store.give_back(A, second)
    assert isinstance(asked.hold(A), bytes)


def test_what_is_committed_late_is_spent_all_the_same() -> None:
    asked = Asked()
    ticket = asked.held(A)
    asked.clock.now += LEASE + 1
    asked.store.commit(A, ticket)
    assert asked.hold(A) is Refusal.SPENT
    other = asked.held(B)
    asked.clock.now += LEASE + 1
    asked.held(B)  # somebody else's by now
    asked.store.commit(B, other)
    assert asked.hold(B) is Refusal.SPENT


def test_a_late_ticket_touches_nothing_that_took_its_place() -> None:
    asked = Asked(capacity=1)
    names = [hashlib.sha256(b"%d" % number).digest() for number in range(200)]
    late = {name: ticket for name in names if isinstance(ticket := asked.hold(name), bytes)}
    asked.clock.now += LEASE + 1
    new = [hashlib.sha256(b"new %d" % number).digest() for number in range(200)]
    held = [name for name in new if isinstance(asked.hold(name), bytes)]
    assert len(held) >= SLOTS
    for name, ticket in late.items():
        asked.store.give_back(name, ticket)
        asked.store.give_back(name, ticket, 10)
        asked.store.commit(name, ticket)
    assert {asked.hold(name) for name in held} == {Refusal.IN_USE}


def test_what_is_spent_cannot_be_given_back() -> None:
    asked = Asked()
    ticket = asked.held(A)
    asked.store.commit(A, ticket)
    asked.store.give_back(A, ticket)
    asked.store.give_back(A, ticket, 10)
    assert asked.hold(A) is Refusal.SPENT


def test_the_end_of_a_lease_is_never_taken_for_that_of_an_epoch() -> None:
    end = MINT.epochs[0].redeem_until + 600
    asked = Asked()
    asked.clock.now = end - LEASE
    ticket = asked.held(A)
    assert asked.hold(A) is Refusal.IN_USE
    asked.store.give_back(A, ticket, 10)
    assert isinstance(asked.hold(B), bytes)
    asked.clock.now = end - 10
    asked.store.give_back(B, asked.held(b"c" * 32), 10)
    assert asked.hold(b"c" * 32) is Refusal.IN_USE


def test_a_lease_that_would_end_with_an_epoch_ends_a_second_later_and_not_before() -> None:
    end = MINT.epochs[0].redeem_until + 600
    for now, is_free in ((end, False), (end + 1, False), (end + 2, True)):
        asked = Asked()
        asked.clock.now = end - LEASE
        asked.held(A)
        asked.clock.now = now
        assert isinstance(asked.hold(A), bytes) is is_free


def test_it_refuses_rather_than_forgets() -> None:
    asked = Asked(capacity=1)
    names = [hashlib.sha256(b"%d" % number).digest() for number in range(200)]
    found = {name: asked.hold(name) for name in names}
    held = [name for name, ticket in found.items() if isinstance(ticket, bytes)]
    assert SLOTS <= len(held) <= 2 * SLOTS
    assert {ticket for ticket in found.values() if not isinstance(ticket, bytes)} == {
        Refusal.UNAVAILABLE
    }
    assert {asked.hold(name) for name in held} == {Refusal.IN_USE}


def test_workers_share_it() -> None:
    asked = Asked()
    ticket = asked.held(A)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if asked.hold(A) is Refusal.IN_USE else 1
            asked.store.commit(A, ticket)
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert asked.hold(A) is Refusal.SPENT


def test_closing_leaves_nothing_to_do() -> None:
    asked = Asked()
    ticket = asked.held(A)
    asyncio.run(asked.store.close())
    asked.store.commit(A, ticket)
    assert asked.hold(A) is Refusal.SPENT


Steps = list[tuple[int, str, float]]


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.sampled_from(["hold", "commit", "give back", "give back later"]),
            st.sampled_from([0, 1, 5, 11, 300, LEASE, 2 * LEASE, WEEK]),
        ),
        max_size=60,
    )
)
def test_it_agrees_with_a_model(steps: Steps) -> None:
    asked = Asked()
    spent: dict[bytes, float] = {}
    held: dict[bytes, tuple[float, bytes]] = {}
    tickets: dict[bytes, list[bytes]] = {}
    for number, step, pause in steps:
        asked.clock.now += pause
        now, name = asked.clock.now, bytes([number]) * 32
        if step == "hold":
            found = asked.hold(name)
            if spent.get(name, 0) >= now:
                assert found is Refusal.SPENT
            elif held.get(name, (0, b""))[0] >= now:
                assert found is Refusal.IN_USE
            else:
                assert isinstance(found, bytes)
                held[name] = (now + LEASE, found)
                tickets.setdefault(name, []).append(found)
        elif known := tickets.get(name):
            ticket = known[-1]
            if step == "commit":
                asked.store.commit(name, ticket)
                spent[name] = LIFETIMES.kept_until(now)
            else:
                after = 10.0 if step.endswith("later") else 0.0
                asked.store.give_back(name, ticket, after)
                is_held = spent.get(name, 0) < now and held[name][0] >= now
                if is_held and held[name][1] == ticket:
                    # What was shortened has another ticket: nobody has it.
                    held[name] = (now + after if after else now - 1, b"")


def test_the_time_of_the_model_is_within_the_epochs() -> None:
    assert MINT.epochs[0].issue_from < NOW < MINT.epochs[0].issue_until


@pytest.mark.parametrize("capacity", [1, 1 << 16])
def test_an_entry_takes_thirty_two_octets(capacity: int) -> None:
    table = SharedTable("tokens", capacity)
    assert table.size == 512 + max(1024, capacity * 32)

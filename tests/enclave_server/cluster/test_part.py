"""What a member is and holds: all of a state, or nothing of it."""

import io
from dataclasses import replace

import pytest

from enclave_server.cluster.part import Part
from enclave_server.cluster.statement import Company
from enclave_server.keys.ring import KeyRing
from enclave_server.keys.shared_ring import adopt
from enclave_server.log import Log
from enclave_server.security_module.clock import MAX_SKEW_SECONDS
from protocol.errors import MalformedMessage
from protocol.slots import share_slots
from tests.support.enclaves import generation, state

ME, LEADER, OTHER = b"m" * 16, b"l" * 16, b"o" * 16
KEYS = generation(3, ME, LEADER)
STATE = replace(state(KEYS, leader=LEADER, secrets=b"handed over"), turns=7, announced=True)
ENDS = KEYS.ends / 1000
LONGEST = 3600.0
NOW = ENDS - LONGEST
BEFORE = Company(ME, None, frozenset({ME}), 2)


def part() -> Part:
    made = Part((STATE.rsa, STATE.ed25519), LONGEST, Log(io.StringIO()))
    made.company = BEFORE
    return made


def test_who_never_followed_has_nothing_left_to_announce() -> None:
    assert part().announced


def test_a_state_says_who_is_there_and_what_is_held() -> None:
    mine = part()
    ring = mine.take(STATE, KeyRing(), ME, NOW)
    assert ring == adopt(KeyRing(), STATE.generations, ME)
    assert mine.company == Company(ME, LEADER, frozenset({ME, LEADER}), 7)
    assert mine.secrets == b"handed over"
    assert not mine.leads


def test_who_joins_is_there_before_the_leader_says_so() -> None:
    mine = part()
    mine.take(STATE, KeyRing(), OTHER, NOW)
    assert mine.company.members == {ME, LEADER, OTHER}


@pytest.mark.parametrize(
    "wrong",
    [
        replace(STATE, rsa=b"another"),
        replace(STATE, ed25519=b"x" * 32),
        replace(STATE, generations=(replace(KEYS, table=share_slots([ME, OTHER])),)),
    ],
    ids=["rsa", "ed25519", "table"],
)
def test_nothing_is_noted_of_a_state_that_is_refused(wrong: object) -> None:
    mine = part()
    ring = adopt(KeyRing(), STATE.generations, ME)
    with pytest.raises(MalformedMessage):
        mine.take(wrong, ring, ME, NOW)  # type: ignore[arg-type]
    assert (mine.company, mine.secrets) == (BEFORE, b"")


@pytest.mark.parametrize(("skew", "works"), [(-MAX_SKEW_SECONDS, True), (-61, False), (3600, True)])
def test_a_key_that_ends_later_than_any_is_of_a_clock_that_is_wrong(
    skew: float, works: bool
) -> None:
    mine = part()
    if works:
        mine.take(STATE, KeyRing(), ME, NOW + skew)
        return
    with pytest.raises(MalformedMessage, match="later"):
        mine.take(STATE, KeyRing(), ME, NOW + skew)
    assert mine.company == BEFORE


def test_a_worker_has_nothing_of_it() -> None:
    mine = part()
    mine.take(STATE, KeyRing(), ME, NOW)
    assert "handed over" not in repr(mine)
    assert repr(STATE.rsa) not in repr(mine)
    mine.forget()
    assert mine.signing == (b"", b"")
    assert mine.secrets == b""

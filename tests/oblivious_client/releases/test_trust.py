"""Whose word is taken: what a trust.json may say, and what would count one signer twice."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from oblivious_client.releases.trust import MOST_KEYS, Quorum, Trust
from protocol.errors import MalformedMessage
from protocol.note_key import NoteKey, NoteKeyKind
from tests.support.releases import ALONE, BUILDERS, LOG, TRUST, WITNESSES, signer, witness

FILE = json.loads(TRUST.encode_file())


def test_what_is_written_reads_as_the_same() -> None:
    for trust in (TRUST, ALONE, dataclasses.replace(TRUST, fresh_days=3, max_lists=99)):
        assert Trust.decode_file(trust.encode_file()) == trust
        assert trust.changed(trust.encode()) == trust


def test_it_is_said_who_has_to_sign() -> None:
    assert TRUST.in_words() == (
        "2 of 3 builders, 2 of 3 witnesses (1 independent, 2 of the builders' own)"
    )
    assert ALONE.in_words() == (
        "1 of 1 builder, 1 of 1 witness (0 independent, 1 of the builders' own)"
    )


def test_a_person_can_read_it() -> None:
    assert TRUST.encode_file().startswith(b'{\n  "origin": ')


def altered(**members: Any) -> Callable[[], dict[str, Any]]:
    return lambda: {**FILE, **members}


@pytest.mark.parametrize(
    "members",
    [
        altered(more=1),
        altered(origin=1),
        altered(origin=""),
        altered(origin="a b"),
        altered(log=1),
        altered(log="a"),
        altered(log=WITNESSES[0].key.encode()),
        altered(log=BUILDERS[0].key.encode()),
        altered(builders=[]),
        altered(builders={**FILE["builders"], "threshold": 0}),
        altered(builders={**FILE["builders"], "threshold": 4}),
        altered(builders={**FILE["builders"], "threshold": True}),
        altered(builders={**FILE["builders"], "threshold": 1.0}),
        altered(builders={**FILE["builders"], "more": 1}),
        altered(builders={"threshold": 1, "keys": []}),
        altered(builders={"threshold": 1, "keys": "a"}),
        altered(builders={"threshold": 1, "keys": [1]}),
        altered(builders={"threshold": 1, "keys": FILE["builders"]["keys"][:1] * 2}),
        altered(builders=FILE["witnesses"]),
        altered(builders={"threshold": 1, "keys": [witness("other.example").key.encode()]}),
        altered(
            witnesses={"threshold": 1, "keys": [signer("other.example").key.encode()]},
            independent=[],
        ),
        altered(witnesses=FILE["builders"]),
        altered(independent=["stranger.example"]),
        altered(independent="witness-c.example"),
        altered(independent=[1]),
        altered(independent={"witness-c.example": 1}),
        altered(independent=["witness-c.example"] * 2),
        altered(independent=["witness-c.example", "witness-a.example"]),
        altered(fresh_days=0),
        altered(fresh_days=366),
        altered(overlap_days=0),
        altered(overlap_days=366),
        altered(max_lists=0),
        altered(max_lists=65537),
        altered(fresh_days="7"),
        lambda: {name: value for name, value in FILE.items() if name != "log"},
    ],
)
def test_what_is_none(members: Callable[[], dict[str, Any]]) -> None:
    with pytest.raises(MalformedMessage):
        Trust.decode_file(json.dumps(members()).encode())


@pytest.mark.parametrize(
    ("name", "ends"),
    [("fresh_days", (1, 365)), ("overlap_days", (1, 365)), ("max_lists", (1, 65536))],
)
def test_days_and_lists_may_be_at_their_ends(name: str, ends: tuple[int, int]) -> None:
    for end in ends:
        data = json.dumps({**FILE, name: end}).encode()
        assert getattr(Trust.decode_file(data), name) == end


def test_all_of_some_keys_may_have_to_sign() -> None:
    everyone = {**FILE["builders"], "threshold": len(TRUST.builders.keys)}
    assert str(Trust.decode_file(json.dumps({**FILE, "builders": everyone}).encode()).builders) == (
        "3 of 3"
    )


def test_one_key_is_not_two_builders() -> None:
    key = BUILDERS[0].key
    again = NoteKey("another-name.example", NoteKeyKind.ED25519, key.public_key)
    with pytest.raises(ValueError, match="twice"):
        dataclasses.replace(TRUST, builders=Quorum(2, (key, again)))
    namesake = signer("other").key
    namesake = NoteKey(key.name, NoteKeyKind.ED25519, namesake.public_key)
    with pytest.raises(ValueError, match="one name"):
        dataclasses.replace(TRUST, builders=Quorum(2, (key, namesake)))


def test_too_many_keys_are_not_read() -> None:
    keys = [signer(f"{number}.example").key.encode() for number in range(MOST_KEYS + 1)]
    Trust.decode_file(
        json.dumps({**FILE, "builders": {"threshold": 1, "keys": keys[:-1]}}).encode()
    )
    with pytest.raises(MalformedMessage):
        Trust.decode_file(json.dumps({**FILE, "builders": {"threshold": 1, "keys": keys}}).encode())


def test_a_change_has_no_origin() -> None:
    with pytest.raises(MalformedMessage):
        TRUST.changed({**TRUST.encode(), "origin": "elsewhere.example"})
    assert TRUST.log == LOG.key

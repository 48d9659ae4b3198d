"""The list of releases: each attack on it, and the step that stops it."""

import dataclasses
import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oblivious_client.releases.published import (
    MAX_ENTRIES,
    MAX_LIST_BYTES,
    Published,
    Unverified,
    cosigned,
    statements_of,
    unsigned,
    verify,
    verify_unwitnessed,
)
from oblivious_client.releases.refusals import ListFault, ListRefused
from oblivious_client.releases.trust import Quorum, Trust
from protocol.errors import ProtocolError
from protocol.note_key import NoteKey
from protocol.signed_note import Note, NoteSignature
from tests.support.releases import (
    ALONE,
    BUILDERS,
    LOG,
    NOW,
    STRANGER,
    TRUST,
    WITNESSES,
    Log,
    change,
    log_of,
    note,
    release,
    signer,
    witness,
)

HERE = Path(__file__).resolve().parent
FOUR = log_of(*(release(number) for number in range(1, 5)))


def read(served: bytes, trust: Trust = TRUST) -> Published:
    return verify(Unverified.decode(served), trust)


def fault(served: bytes, trust: Trust = TRUST) -> ListFault:
    with pytest.raises(ListRefused) as refused:
        read(served, trust)
    return refused.value.fault


def test_a_good_list() -> None:
    found = read(FOUR.served(NOW - 5))
    assert [release.sequence for _, release in found.releases()] == [1, 2, 3, 4]
    assert all(entry.is_signed for entry in found.entries)
    assert [key.name for key in found.entries[0].signers] == ["build-a.example", "build-b.example"]
    assert (found.as_of, found.checkpoint.size, found.trust) == (NOW - 5, 4, TRUST)
    assert Unverified.decode(found.notes.encode()) == found.notes
    assert "\N{EM DASH} ".encode() in found.notes.encode()  # people read it too


def test_a_list_may_be_empty() -> None:
    assert read(Log().served()).entries == ()


def test_the_time_is_the_one_that_enough_witnesses_agree_on() -> None:
    notes = cosigned(unsigned(FOUR.entries, TRUST), LOG)
    for each, time in zip(WITNESSES, (100, 300, 200), strict=True):
        notes = cosigned(notes, each, time)
    assert verify(notes, TRUST).as_of == 200
    three = dataclasses.replace(TRUST, witnesses=Quorum(3, TRUST.witnesses.keys))
    assert verify(notes, three).as_of == 100


def test_a_witness_renews_its_line() -> None:
    notes = cosigned(FOUR.notes(100), WITNESSES[0], 200)
    assert len(notes.checkpoint.signatures) == 3
    assert cosigned(notes, WITNESSES[1], 300) != notes
    assert verify(cosigned(notes, WITNESSES[1], 300), TRUST).as_of == 200


def without(notes: Unverified, name: str) -> bytes:
    lines = tuple(each for each in notes.checkpoint.signatures if each.name != name)
    checkpoint = dataclasses.replace(notes.checkpoint, signatures=lines)
    return dataclasses.replace(notes, checkpoint=checkpoint).encode()


def made_for_one_person() -> bytes:
    """A list with an entry more; the log's key is stolen, the witnesses' are not."""
    return dataclasses.replace(FOUR.fork(3), witnesses=()).add(note(release(9))).served()


def entries_changed(change: Callable[[list[Note]], list[Note]]) -> bytes:
    notes = FOUR.notes()
    return dataclasses.replace(notes, entries=tuple(change([*notes.entries]))).encode()


def other_text(entries: list[Note]) -> list[Note]:
    first, second, *others = entries
    return [first, dataclasses.replace(second, text=release(2, floor=2).encode()), *others]


ATTACKS: dict[str, tuple[Callable[[], bytes], ListFault]] = {
    "list made for one person": (made_for_one_person, ListFault.WITNESSES),
    "one witness of two": (
        lambda: without(FOUR.notes(), "witness-a.example"),
        ListFault.WITNESSES,
    ),
    "twice the same witness": (
        lambda: dataclasses.replace(FOUR, witnesses=[WITNESSES[0], WITNESSES[0]]).served(),
        ListFault.WITNESSES,
    ),
    "witnesses nobody knows": (
        lambda: dataclasses.replace(FOUR, witnesses=[witness("x"), witness("y")]).served(),
        ListFault.WITNESSES,
    ),
    "another's log": (lambda: dataclasses.replace(FOUR, log=STRANGER).served(), ListFault.LOG),
    "no log": (lambda: without(FOUR.notes(), LOG.name), ListFault.LOG),
    "entry left out": (lambda: entries_changed(lambda e: e[:1] + e[2:]), ListFault.ROOT),
    "last entry left out": (lambda: entries_changed(lambda e: e[:-1]), ListFault.ROOT),
    "entry added": (lambda: entries_changed(lambda e: [*e, note(release(5))]), ListFault.ROOT),
    "entry changed": (lambda: entries_changed(other_text), ListFault.ROOT),
    "entries swapped": (
        lambda: entries_changed(lambda e: [e[1], e[0], *e[2:]]),
        ListFault.MALFORMED,
    ),
    "entry twice": (lambda: FOUR.fork(4).add(FOUR.entries[3]).served(), ListFault.MALFORMED),
    "number given back": (
        lambda: FOUR.fork(4).add(note(release(2, kernel="aws-1"))).served(),
        ListFault.MALFORMED,
    ),
    "another list": (
        lambda: dataclasses.replace(
            FOUR, trust=dataclasses.replace(TRUST, origin="other.example")
        ).served(),
        ListFault.ORIGIN,
    ),
    "a later kind of entry": (
        lambda: (
            FOUR.fork(4)
            .add(Note("oblivious-inference/release/v2\n{}\n", (BUILDERS[0].sign("a\n"),)))
            .served()
        ),
        ListFault.LATER_KIND,
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_stops_an_attack(attack: str) -> None:
    served, step = ATTACKS[attack]
    assert fault(served()) is step


def test_images_of_one_release_differ_in_the_kernel() -> None:
    both = FOUR.fork(4).add(note(release(4, kernel="aws-4.14")))
    assert len(read(both.served()).entries) == 5


# Builders.


def signed_by(*builders: Any) -> bool:
    (entry,) = read(Log().add(note(release(1), builders)).served()).entries
    return entry.is_signed


def test_it_takes_enough_builders() -> None:
    a, b, c = BUILDERS
    assert signed_by(a, b)
    assert signed_by(b, c)
    assert signed_by(a, b, c)
    assert not signed_by(a)
    assert not signed_by(STRANGER)


def test_twice_the_same_builder_counts_once() -> None:
    assert not signed_by(BUILDERS[0], BUILDERS[0])


def test_an_unknown_signer_is_passed_over() -> None:
    assert not signed_by(BUILDERS[0], STRANGER)
    assert signed_by(*BUILDERS[:2], STRANGER)
    # Of the name of a builder, or with its key ID, or both.
    text, line = release(1).encode(), STRANGER.sign(release(1).encode())
    own = BUILDERS[1].key
    for name, key_id in ((own.name, line.key_id), ("x", own.key_id), (own.name, own.key_id)):
        forged = NoteSignature(name, key_id, line.signature)
        entry = Note(text, (BUILDERS[0].sign(text), forged))
        assert not read(Log().add(entry).served()).entries[0].is_signed


def test_a_signature_of_another_statement_is_none() -> None:
    text, other = release(1).encode(), release(2).encode()
    entry = Note(text, (BUILDERS[0].sign(text), BUILDERS[1].sign(other)))
    assert not read(Log().add(entry).served()).entries[0].is_signed


def test_lines_of_auditors_do_not_change_the_list() -> None:
    later = [each.signed([STRANGER.sign(each.text)]) for each in FOUR.entries]
    assert dataclasses.replace(FOUR, entries=later).notes().root() == FOUR.notes().root()


# Changes of what is trusted.

NEW = [signer("new-a.example"), signer("new-b.example")]
NEW_TRUST = dataclasses.replace(
    TRUST,
    log=signer("new-log.example").key,
    builders=Quorum(2, tuple(each.key for each in NEW)),
    witnesses=Quorum(1, (witness("new-w.example").key,)),
    independent=frozenset(),
)


def changed(*builders: Any) -> Log:
    """Return a list in which somebody signs a change, and what follows is signed by the new."""
    return Log(
        TRUST,
        [note(release(1)), change(NEW_TRUST, builders), note(release(2), NEW)],
        signer("new-log.example"),
        [witness("new-w.example")],
    )


def test_a_change_rules_what_follows_it() -> None:
    found = read(changed(*BUILDERS[:2], *NEW).served())
    assert [entry.is_signed for entry in found.entries] == [True, True, True]
    assert found.trust == NEW_TRUST


@pytest.mark.parametrize(
    "builders", [(), BUILDERS, NEW, (*BUILDERS[:1], *NEW), (*BUILDERS[:2], NEW[0])]
)
def test_a_change_needs_enough_of_the_old_and_of_the_new(builders: Any) -> None:
    assert fault(changed(*builders, STRANGER).served()) is ListFault.CHANGE


def test_the_old_log_has_nothing_to_say_after_a_change() -> None:
    log = changed(*BUILDERS[:2], *NEW)
    assert fault(dataclasses.replace(log, log=LOG).served()) is ListFault.LOG
    assert fault(dataclasses.replace(log, witnesses=WITNESSES[:2]).served()) is ListFault.WITNESSES


def test_old_builders_sign_nothing_after_a_change() -> None:
    log = changed(*BUILDERS[:2], *NEW).add(note(release(3), BUILDERS))
    assert [entry.is_signed for entry in read(log.served()).entries] == [True, True, True, False]


def test_a_change_cannot_move_the_list() -> None:
    entry = change(dataclasses.replace(TRUST, origin="elsewhere.example"), BUILDERS)
    assert read(Log().add(entry).served()).trust.origin == TRUST.origin


def test_one_maintainer() -> None:
    log = dataclasses.replace(log_of(release(1), trust=ALONE), witnesses=WITNESSES[:1])
    assert read(log.served(), ALONE).entries[0].is_signed
    assert fault(log.served()) is ListFault.WITNESSES


# What is no list.


@pytest.mark.parametrize(
    "served",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"checkpoint":"","entries":[]}',
        b'{"checkpoint":1,"entries":[]}',
        b'{"checkpoint":"","entries":{}}',
        b'{"checkpoint":"","entries":[1]}',
        b'{"checkpoint":"","entries":[""]}',
        b'{"checkpoint":"","entries":[],"more":1}',
        b"[" * 5000,
        b" " * (MAX_LIST_BYTES + 1),
        json.dumps({"checkpoint": "", "entries": [""] * (MAX_ENTRIES + 1)}).encode(),
    ],
)
def test_what_is_no_list(served: bytes) -> None:
    assert fault(served) is ListFault.MALFORMED


def test_a_list_may_be_as_large_as_its_limits() -> None:
    padded = FOUR.served() + b" " * (MAX_LIST_BYTES - len(FOUR.served()))
    assert len(read(padded).entries) == 4
    shortest = Note("a\n", (STRANGER.sign("a\n"),)).encode()
    members = {"checkpoint": shortest, "entries": [shortest] * MAX_ENTRIES}
    assert len(Unverified.decode(json.dumps(members).encode()).entries) == MAX_ENTRIES


def test_it_is_told_which_entry_is_at_fault() -> None:
    with pytest.raises(ListRefused, match="entry 5: its number was given before"):
        read(FOUR.fork(4).add(FOUR.entries[3]).served())
    with pytest.raises(ListRefused, match="entry 2 changes who is trusted, and 3 old and 0 new"):
        read(changed(*BUILDERS).served())


def test_what_nobody_has_witnessed_is_of_no_time() -> None:
    assert verify_unwitnessed(FOUR.notes(), TRUST).as_of == 0
    assert FOUR.served().startswith(b'{\n "checkpoint": "')


def test_a_checkpoint_that_is_none() -> None:
    notes = FOUR.notes()
    text = "a\nb\n"
    wrong = Note(text, ()).signed([LOG.sign(text)])
    assert fault(dataclasses.replace(notes, checkpoint=wrong).encode()) is ListFault.MALFORMED


def damaged(served: bytes, chance: random.Random) -> bytes:
    """Return a list with some of it changed, cut out, doubled or repeated."""
    data = bytearray(served)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        until = min(len(data), at + chance.choice((1, 2, 40, 500)))
        match chance.randrange(5):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at:until]
            case 2:
                data[at:at] = data[at:until]
            case 3:
                pieces = (b"[", b'"', b"\\n", b"\xe2\x80\x94 ", b"{}", b"9" * 40)
                data[at:at] = chance.choice(pieces)
            case 4:
                data[at:at] = bytes(data[at:until]) * chance.randrange(200)
        if not data:
            break
    return bytes(data)


def test_damaged_lists_are_refused_and_cost_little() -> None:
    served, chance = FOUR.served(), random.Random(9)
    refused = 0
    tracemalloc.start()
    try:
        for _ in range(500):
            try:
                read(damaged(served, chance))
            except ListRefused:
                refused += 1
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused > 450  # what is left says the same in other words
    assert most < 64 << 20


def test_a_refusal_is_an_error_of_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        Unverified.decode(b"")


def test_statements_of_a_list_whose_checkpoint_nobody_signed() -> None:
    entries = statements_of(unsigned(FOUR.entries, TRUST), TRUST)
    assert [entry.is_signed for entry in entries] == [True] * 4
    assert isinstance(entries[0].signers[0], NoteKey)


# Lists do not expire: what this client's first release could read, each later one reads.


def test_the_first_list_verifies_with_every_later_client() -> None:
    trust = Trust.decode_file((HERE / "first-trust.json").read_bytes())
    notes = Unverified.decode((HERE / "first-list.json").read_bytes())
    found = verify(notes, trust)
    assert [str(release) for _, release in found.releases()] == [
        "1.0.0 (number 1, kernel debian-6.12.117-1)",
        "1.0.0 (number 1, kernel aws-4.14.256)",
        "1.1.0 (number 2, kernel debian-6.12.117-1)",
        "1.1.1 (number 3, kernel debian-6.12.117-1)",
    ]
    assert [len(entry.signers) for entry in found.entries] == [2, 2, 3, 2, 2]
    assert all(entry.is_signed for entry in found.entries)
    assert (found.as_of, found.checkpoint.size) == (1_800_000_000, 5)
    assert (
        found.checkpoint.root.hex()
        == "ea26995d48e3f2e4b6fc4070bb32e347300ba6a1cafcef1f3d8ec55a8e55c53e"
    )
    assert found.trust != trust

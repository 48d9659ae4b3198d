"""Notes of mirrors: when they vouch that everybody is given the same keys."""

import dataclasses
import json
from typing import Any

import pytest

from oblivious_client.releases.keys_seen import (
    HEADER,
    MOST_NOTES,
    NOTE_SECONDS,
    SKEW_SECONDS,
    WINDOW_SECONDS,
    KeysSeen,
    Mirrors,
    NotSighted,
    Sighting,
    SightingFault,
    decode_notes,
    digest_of,
    encode_notes,
)
from oblivious_client.releases.trust import Quorum
from protocol.errors import MalformedMessage
from protocol.note_key import LATEST_TIME, NoteSigner
from protocol.signed_note import Note, NoteSignature
from tests.support.releases import NOW, WITNESSES, witness

GATEWAY, KEYS = "gateway.example", b"the keys of everybody"
A, B, C = WITNESSES
SEEN = KeysSeen(GATEWAY, WINDOW_SECONDS, ()).seeing(KEYS, NOW - 60)
ONE = Mirrors(Quorum(1, (A.key,)), GATEWAY)
TWO = Mirrors(Quorum(2, (A.key, B.key, C.key)), GATEWAY)


def note(seen: KeysSeen = SEEN, mirror: NoteSigner = A, time: int = NOW - 60) -> Note:
    text = seen.encode()
    return Note(text, (mirror.sign(text, time),))


def others(count: int, last_seen: int = NOW - 60) -> KeysSeen:
    """Return what is said by a mirror that has seen more lists."""
    lists = [Sighting(digest_of(bytes([n])), last_seen, last_seen) for n in range(count)]
    ordered = tuple(sorted((*SEEN.lists, *lists), key=lambda each: each.digest))
    return dataclasses.replace(SEEN, lists=ordered)


def fault(served: bytes, mirrors: Mirrors = ONE, keys: bytes = KEYS) -> SightingFault:
    with pytest.raises(NotSighted) as missed:
        mirrors.check(served, keys, NOW)
    return missed.value.fault


def test_a_mirror_vouches() -> None:
    assert ONE.check(encode_notes([note()]), KEYS, NOW) == (A.key,)
    assert "\N{EM DASH} ".encode() in encode_notes([note()])  # people read it too
    anyone = dataclasses.replace(ONE, gateway=None)
    assert anyone.check(encode_notes([note()]), KEYS, NOW) == (A.key,)


def test_a_list_that_no_mirror_has_seen() -> None:
    assert fault(encode_notes([note()]), keys=b"made for one person") is SightingFault.UNSEEN


def test_an_old_note() -> None:
    for time, good in (
        (NOW - NOTE_SECONDS, True),
        (NOW - NOTE_SECONDS - 1, False),
        (NOW + SKEW_SECONDS, True),
        (NOW + SKEW_SECONDS + 1, False),
    ):
        served = encode_notes([note(time=time)])
        if good:
            assert ONE.check(served, KEYS, NOW)
        else:
            assert fault(served) is SightingFault.SILENT


def test_too_many_lists() -> None:
    assert ONE.check(encode_notes([note(others(15))]), KEYS, NOW)
    assert fault(encode_notes([note(others(16))])) is SightingFault.CROWDED
    assert fault(encode_notes([note(others(16, NOW - WINDOW_SECONDS))])) is SightingFault.CROWDED
    # What was seen before the window counts no more.
    assert ONE.check(encode_notes([note(others(16, NOW - WINDOW_SECONDS - 1))]), KEYS, NOW)
    larger = dataclasses.replace(ONE, max_lists=17)
    assert larger.check(encode_notes([note(others(16))]), KEYS, NOW)


def test_a_crowd_is_not_excused_by_a_list_that_is_not_there() -> None:
    served = encode_notes([note(others(16)), note(KeysSeen(GATEWAY, WINDOW_SECONDS, ()))])
    assert fault(served) is SightingFault.CROWDED


def test_another_gateway() -> None:
    other = dataclasses.replace(SEEN, gateway="other.example")
    assert fault(encode_notes([note(other)])) is SightingFault.SILENT


def test_a_shorter_window_is_none() -> None:
    short = dataclasses.replace(SEEN, window=WINDOW_SECONDS - 1)
    assert fault(encode_notes([note(short)])) is SightingFault.SILENT


def test_an_unknown_mirror() -> None:
    assert fault(encode_notes([note(mirror=witness("x.example"))])) is SightingFault.SILENT


def test_a_text_that_the_relay_has_changed() -> None:
    changed = dataclasses.replace(SEEN, lists=()).seeing(b"made for one person", NOW - 60)
    served = encode_notes([Note(changed.encode(), note().signatures)])
    assert fault(served, keys=b"made for one person") is SightingFault.SILENT


def test_a_time_that_the_relay_has_changed() -> None:
    line = note(time=NOW - 2 * NOTE_SECONDS).signatures[0]
    later = NOW.to_bytes(8, "big") + line.signature[8:]
    forged = Note(SEEN.encode(), (NoteSignature(line.name, line.key_id, later),))
    assert fault(encode_notes([forged])) is SightingFault.SILENT


def test_it_takes_enough_mirrors() -> None:
    assert fault(encode_notes([note()]), TWO) is SightingFault.SILENT
    assert fault(encode_notes([note(), note()]), TWO) is SightingFault.SILENT
    apart = KeysSeen(GATEWAY, WINDOW_SECONDS, ()).seeing(KEYS, NOW - 90)
    served = encode_notes([note(), note(apart, B)])
    assert TWO.check(served, KEYS, NOW) == (A.key, B.key)
    unseen = KeysSeen(GATEWAY, WINDOW_SECONDS, ()).seeing(b"others", NOW - 90)
    assert fault(encode_notes([note(), note(unseen, B)]), TWO) is SightingFault.UNSEEN


@pytest.mark.parametrize(
    "served",
    [
        b"",
        b"{}",
        b"[]",
        b'{"notes":1}',
        b'{"notes":[1]}',
        b'{"notes":["a"]}',
        json.dumps({"notes": ["a"] * (MOST_NOTES + 1)}).encode(),
    ],
)
def test_what_is_no_file_of_notes(served: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_notes(served)
    assert fault(served) is SightingFault.SILENT


def text(**more: Any) -> str:
    members = {**json.loads(SEEN.encode().split("\n")[1]), **more}
    return f"{HEADER}\n{json.dumps(members, sort_keys=True, separators=(',', ':'))}\n"


LINE = [digest_of(KEYS), NOW, NOW]


def test_a_file_may_have_all_its_notes() -> None:
    assert decode_notes(encode_notes([note()] * MOST_NOTES)) == [note()] * MOST_NOTES


@pytest.mark.parametrize(
    ("changes", "is_good"),
    [
        ({"window": 1}, True),
        ({"window": LATEST_TIME}, True),
        ({"window": LATEST_TIME + 1}, False),
        ({"lists": [[LINE[0], 1, LATEST_TIME]]}, True),
        ({"lists": [[LINE[0], 1, LATEST_TIME + 1]]}, False),
        ({"lists": [[f"{number:064x}", NOW, NOW] for number in range(4096)]}, True),
        ({"lists": [[f"{number:064x}", NOW, NOW] for number in range(4097)]}, False),
    ],
)
def test_what_a_mirror_says_may_go_to_its_ends(changes: dict[str, Any], is_good: bool) -> None:
    if is_good:
        assert KeysSeen.decode(text(**changes)).encode() == text(**changes)
        return
    with pytest.raises(MalformedMessage):
        KeysSeen.decode(text(**changes))


def test_what_was_seen_longer_ago_than_the_window_is_dropped() -> None:
    for age, known in ((WINDOW_SECONDS, 2), (WINDOW_SECONDS + 1, 1)):
        seen = SEEN.seeing(b"others", NOW - 60 + age)
        assert len(seen.lists) == known


def test_mirrors_have_to_vouch_unless_that_is_not_asked() -> None:
    assert Mirrors(Quorum(1, (A.key,))).is_required
    assert encode_notes([note()]).startswith(b'{\n "notes": [\n  "')


@pytest.mark.parametrize(
    "said",
    [
        "",
        HEADER,
        text().replace("v1", "v2", 1),
        text().replace(":", ": "),
        text()[:-1],
        text(more=1),
        text(gateway=""),
        text(gateway=1),
        text(window=0),
        text(window="1"),
        text(lists=1),
        text(lists=[1]),
        text(lists=["abc"]),
        text(lists=[LINE[:2]]),
        text(lists=[[*LINE, 1]]),
        text(lists=[LINE, LINE]),
        text(lists=[["zz", NOW, NOW]]),
        text(lists=[[1, NOW, NOW]]),
        text(lists=[[LINE[0], NOW, NOW - 1]]),
        text(lists=[[LINE[0], True, NOW]]),
        text(lists=[[LINE[0], 0, NOW]]),
        text(lists=[[LINE[0], 1.0, NOW]]),
        text(lists=[["f" * 64, NOW, NOW], ["e" * 64, NOW, NOW]]),
    ],
)
def test_what_is_no_note_of_a_mirror(said: str) -> None:
    with pytest.raises(MalformedMessage):
        KeysSeen.decode(said)


def test_a_week_of_a_mirror() -> None:
    """Keys of a day each, announced an hour ahead, and two starts of the enclave."""
    seen = KeysSeen(GATEWAY, WINDOW_SECONDS, ())
    most = 0
    for now in range(NOW, NOW + 7 * 86400, 300):
        start = sum(now >= NOW + at * 86400 for at in (2.5, 4.2))
        day, second = divmod(now - NOW, 86400)
        announced = second >= 86400 - 3600
        seen = seen.seeing(f"{start} {day} {announced}".encode(), now)
        assert KeysSeen.decode(seen.encode()) == seen
        most = max(most, len(seen.lists))
    assert most <= 7
    first = {each.digest: each.first_seen for each in seen.lists}
    assert all(each.first_seen <= each.last_seen for each in seen.lists)
    assert first == {each.digest: first[each.digest] for each in seen.lists}


@pytest.mark.parametrize(
    ("notes", "keys", "said"),
    [
        ([], KEYS, "fewer than 1 of 1 mirrors say anything of this hour"),
        ([note()], b"x", "fewer than 1 of 1 mirrors have seen the keys that were served here"),
        ([note(others(16))], KEYS, "mirrors have seen more than 16 lists of keys in two days"),
    ],
)
def test_it_is_told_why_nobody_vouches(notes: list[Note], keys: bytes, said: str) -> None:
    with pytest.raises(NotSighted) as missed:
        ONE.check(encode_notes(notes), keys, NOW)
    assert str(missed.value) == said

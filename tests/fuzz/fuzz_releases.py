"""Lists of releases, whom to trust, and mirrors' notes: refused with their errors, or whole."""

from dataclasses import replace

from oblivious_client.releases import statements
from oblivious_client.releases.acceptance import accepted
from oblivious_client.releases.keys_seen import KeysSeen, Mirrors, decode_notes, encode_notes
from oblivious_client.releases.published import Unverified, verify, verify_unwitnessed
from oblivious_client.releases.refusals import ListRefused
from oblivious_client.releases.statements import Release
from oblivious_client.releases.trust import Quorum, Trust
from protocol.errors import MalformedMessage, ProtocolError
from protocol.signed_note import Note
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.support.releases import (
    BUILDERS,
    NOW,
    TRUST,
    WITNESSES,
    change,
    log_of,
    release,
)

KEYS = b"keys"
MIRRORS = Mirrors(Quorum(1, (WITNESSES[0].key,)))
attempt = Attempt(ProtocolError)
refused_list = Attempt(ListRefused)

FAULTS = (
    slips("protocol.signed_note.Note.decode", MalformedMessage),
    slips("oblivious_client.releases.statements._release", MalformedMessage),
    slips("oblivious_client.releases.trust._quorum", MalformedMessage),
    slips("oblivious_client.releases.keys_seen._sighting", ValueError),
    returns(
        "oblivious_client.releases.published._checkpoint",
        lambda found: replace(found, size=found.size + 1),
    ),
    replaced("oblivious_client.releases.statements._require_measured", lambda pcrs: None),
)


def seeds() -> list[bytes]:
    """Return lists, texts of entries, trust and notes."""
    log = log_of(release(1), release(2, floor=2)).add(change(TRUST, BUILDERS))
    notes = log.notes(NOW)
    said = KeysSeen("g", 172800, ()).seeing(KEYS, NOW).encode()
    mirrored = encode_notes([Note(said, (WITNESSES[0].sign(said, NOW),))])
    texts = [each.text.encode() for each in notes.entries]
    texts += [texts[0].replace(release(1).pcrs[0].hex().encode(), b"0" * 96)]  # a debug image
    texts += [said.encode(), said.replace(f"{NOW}]", f"{NOW - 1}]").encode()]
    odd = [b'{"checkpoint":"","entries":[]}', b'{"checkpoint":"a","entries":["\\ud800"]}']
    return [notes.encode(), log.fork(0).served(), *texts, TRUST.encode_file(), mirrored, *odd]


def run(data: bytes) -> None:
    """Read all of it."""
    _run_list(data)
    trust = attempt(Trust.decode_file, data)
    if not isinstance(trust, Refused):
        assert Trust.decode_file(trust.encode_file()) == trust
        assert trust.changed(trust.encode()) == trust
    text = data.decode("latin-1")
    statement = attempt(statements.decode, text, TRUST)
    if not isinstance(statement, Refused):
        assert statement.encode() == text
        if isinstance(statement, Release):
            assert all(any(value) and len(value) == 48 for value in statement.pcrs.values())
            assert {0, 1, 2} <= statement.pcrs.keys()
    said = attempt(KeysSeen.decode, text)
    if not isinstance(said, Refused):
        assert said.encode() == text
    notes = attempt(decode_notes, data)
    if not isinstance(notes, Refused):
        assert decode_notes(encode_notes(notes)) == notes
        attempt(MIRRORS.check, data, KEYS, NOW)


def _run_list(data: bytes) -> None:
    notes = refused_list(Unverified.decode, data)
    if isinstance(notes, Refused):
        return
    assert Unverified.decode(notes.encode()) == notes
    entries = refused_list(verify_unwitnessed, notes, TRUST)
    found = refused_list(verify, notes, TRUST)
    if isinstance(found, Refused):
        return
    assert not isinstance(entries, Refused)
    assert found.checkpoint.size == len(notes.entries) == len(found.entries)
    assert found.checkpoint.root == notes.root()
    for each in accepted(found, NOW):
        assert each.entry.is_signed
        assert each.release.valid_from <= NOW + 300

"""Signed notes: one form for each, whose text and lines are those that a careful reader sees."""

import base64

from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage, ProtocolError
from protocol.note_key import NoteKey, signers
from protocol.signed_note import MAX_SIGNATURES, Note
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Attempt, Refused
from tests.support.releases import BUILDERS, NOW, WITNESSES, log_of, release

KEYS = [each.key for each in (*BUILDERS, *WITNESSES)]
attempt = Attempt(ProtocolError)

FAULTS = (
    slips("protocol.signed_note._signature", MalformedMessage),
    slips("protocol.checkpoint.Checkpoint.decode", MalformedMessage),
    slips("protocol.note_key.NoteKey.decode", MalformedMessage),
    returns("protocol.signed_note._is_text", lambda found: True),
    replaced("protocol.signed_note.MAX_SIGNATURES", 1000),
)


def seeds() -> list[bytes]:
    """Return notes of all kinds, texts and keys."""
    notes = log_of(release(1), release(2)).notes(NOW)
    texts = [each.encode() for each in (notes.checkpoint, *notes.entries)]
    line = "— a.example AAAAAAE=\n"
    odd = ["\n\n" + line, "a\n\n\n" + line, "\ud800\n\n" + line, "é\n\n" + line * 40]
    encoded = [text.encode("utf-8", "surrogatepass") for text in (*texts, *odd)]
    keys = [key.encode().encode() for key in KEYS]
    return [*encoded, notes.checkpoint.text.encode(), *keys]


def run(data: bytes) -> None:
    """Read a note, a checkpoint and a key."""
    text = data.decode("utf-8", "surrogatepass") if _decodes(data) else data.decode("latin-1")
    _run_note(text)
    checkpoint = attempt(Checkpoint.decode, text)
    if not isinstance(checkpoint, Refused):
        assert checkpoint.encode() == text
        assert text.count("\n") == 3
        assert attempt(Checkpoint.decode, text + "\n") is REFUSED
    key = attempt(NoteKey.decode, text)
    if not isinstance(key, Refused):
        assert key.encode() == text
        assert attempt(NoteKey.decode, text + "A") is REFUSED


def _run_note(text: str) -> None:
    note = attempt(Note.decode, text)
    if isinstance(note, Refused):
        return
    assert note.encode() == text
    text.encode()  # it is one that has octets
    assert 1 <= len(note.signatures) <= MAX_SIGNATURES
    # The text and the lines, cut by hand.
    before, _, below = text.rpartition("\n\n")
    assert note.text == before + "\n"
    for line, signature in zip(below.splitlines(), note.signatures, strict=True):
        dash, name, octets = line.split(" ")
        assert (dash, name) == ("—", signature.name)
        assert base64.b64decode(octets) == signature.key_id + signature.signature
    found = attempt(signers, note, KEYS)
    if not isinstance(found, Refused):
        assert len({each.key for each in found}) == len(found) <= len(note.signatures)
    assert attempt(Note.decode, text[:-1]) is REFUSED
    assert attempt(Note.decode, text + "\n") is REFUSED


def _decodes(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True

"""Signed notes (C2SP signed-note, v1.0.0): a text, and below it lines with which keys sign it.

    text, which ends with a newline
    <empty line>
    — NAME base64(key ID ‖ signature)

Lines can be added by anybody without changing the text. What a note says counts only for whoever
knows a key among its signers: `protocol.note_key` has the keys.
"""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from protocol import strict_json
from protocol.errors import MalformedMessage

MAX_NOTE_BYTES = 64 * 1024
"""A statement has under one KiB; the largest signature of today 2,436 octets."""

MAX_SIGNATURES = 32
"""Verifiers MUST take 16."""

KEY_ID_BYTES = 4

_DASH = "— "
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """A line of a note, nothing of it verified."""

    name: str
    key_id: bytes
    signature: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.key_id) != KEY_ID_BYTES or not self.signature:
            raise ValueError("not a name, a key ID and a signature")

    def encode(self) -> str:
        """Return the line."""
        octets = base64.b64encode(self.key_id + self.signature).decode()
        return f"{_DASH}{self.name} {octets}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text and the lines below it; the text's octets are what is signed."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> str:
        """Return the note."""
        return f"{self.text}\n{''.join(each.encode() for each in self.signatures)}"

    @classmethod
    def decode(cls, note: str) -> "Note":
        """Read a note, or raise MalformedMessage."""
        if len(note.encode("utf-8", "surrogatepass")) > MAX_NOTE_BYTES:
            raise MalformedMessage("the note is too large")
        if _CONTROL.search(note) or not _is_text(note):
            raise MalformedMessage("the note has characters that no note may have")
        # The text MAY contain empty lines; the last one of the note ends it.
        text, separator, lines = note.rpartition("\n\n")
        if not separator or not lines.endswith("\n"):
            raise MalformedMessage("the note has no signatures, or does not end with them")
        signatures = tuple(map(_signature, lines.removesuffix("\n").split("\n")))
        if len(signatures) > MAX_SIGNATURES:
            raise MalformedMessage("the note has too many signatures")
        return cls(text + "\n", signatures)

    def signed(self, more: Iterable[NoteSignature]) -> "Note":
        """Return the note with more lines; one that is there already stays once."""
        return replace(self, signatures=tuple(dict.fromkeys((*self.signatures, *more))))


def is_key_name(name: str) -> bool:
    """Whether a key may have this name: no spaces, no plus, nothing that cannot be shown."""
    return name.isprintable() and bool(name) and not re.search(r"[\s+]", name)


def is_note_text(text: str) -> bool:
    """Whether a note may have this text."""
    return text.endswith("\n") and not _CONTROL.search(text) and _is_text(text)


def _is_text(note: str) -> bool:
    try:
        note.encode()
    except UnicodeEncodeError:  # half a character
        return False
    return True


def _signature(line: str) -> NoteSignature:
    dash, (name, _, encoded) = line[: len(_DASH)], line[len(_DASH) :].partition(" ")
    octets = strict_json.decode_base64(encoded)
    key_id, signature = octets[:KEY_ID_BYTES], octets[KEY_ID_BYTES:]
    # One form for the same octets: decoders pass over bits that no octet has.
    if dash != _DASH or not signature or base64.b64encode(octets).decode() != encoded:
        raise MalformedMessage("a line of the note is no signature")
    if not is_key_name(name):
        raise MalformedMessage("a line of the note names no key")
    return NoteSignature(name, key_id, signature)

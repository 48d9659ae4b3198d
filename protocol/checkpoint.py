"""Checkpoints of append-only lists (C2SP tlog-checkpoint, v1.0.0): their length and their root."""

import base64
import re
from dataclasses import dataclass

from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.merkle_tree import HASH_BYTES
from protocol.signed_note import is_note_text

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The text of a checkpoint; `size` counts entries, `root` is their RFC 6962 hash."""

    origin: str
    size: int
    root: bytes

    def encode(self) -> str:
        """Return the text of the note."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def decode(cls, text: str) -> "Checkpoint":
        """Read the text of a note, or raise MalformedMessage.

        Extension lines are refused: not every kind of cosignature covers them.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0] or not is_note_text(text):
            raise MalformedMessage("not the three lines of a checkpoint")
        if not _SIZE.fullmatch(lines[1]):
            raise MalformedMessage("the size of a checkpoint is not a number without zeros")
        found = cls(lines[0], int(lines[1]), strict_json.decode_base64(lines[2]))
        if len(found.root) != HASH_BYTES or found.encode() != text:
            raise MalformedMessage("the root of a checkpoint is not a hash in base64")
        return found

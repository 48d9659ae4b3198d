"""Keys of signed notes: of signers (C2SP signed-note) and of witnesses (C2SP tlog-cosignature).

A witness signs a checkpoint together with the time at which it was the longest that the witness
had seen, consistent with all before. Its signatures are of another kind than those of signers, and
so is its key ID, so that neither passes for the other.
"""

import base64
import binascii
import enum
import hashlib
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.signed_note import KEY_ID_BYTES, Note, NoteSignature, is_key_name

LATEST_TIME = (1 << 53) - 1
"""In Unix seconds; the specification allows more than numbers of JSON hold."""

_TIME = struct.Struct(">Q")
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})")


class NoteKeyKind(enum.IntEnum):
    """Signature types, as the specifications number them."""

    ED25519 = 0x01
    ED25519_COSIGNATURE = 0x04
    ML_DSA_44_COSIGNATURE = 0x06

    @property
    def is_timed(self) -> bool:
        """Whether a signature of this kind carries a time."""
        return self is not NoteKeyKind.ED25519


_KEY_BYTES = {
    NoteKeyKind.ED25519: 32,
    NoteKeyKind.ED25519_COSIGNATURE: 32,
    NoteKeyKind.ML_DSA_44_COSIGNATURE: 1312,
}


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key by which signatures of notes are verified; ValueError for what is none."""

    name: str
    kind: NoteKeyKind
    public_key: bytes

    def __post_init__(self) -> None:
        if not is_key_name(self.name) or len(self.public_key) != _KEY_BYTES[self.kind]:
            raise ValueError("not a name and a public key of its kind")

    @property
    def key_id(self) -> bytes:
        """The four octets that stand before each of its signatures."""
        text = self.name.encode() + b"\n" + bytes([self.kind]) + self.public_key
        return hashlib.sha256(text).digest()[:KEY_ID_BYTES]

    def encode(self) -> str:
        """Return the key as text, a "vkey"."""
        octets = base64.b64encode(bytes([self.kind]) + self.public_key).decode()
        return f"{self.name}+{self.key_id.hex()}+{octets}"

    @classmethod
    def decode(cls, text: str) -> "NoteKey":
        """Read a vkey, or raise MalformedMessage."""
        match = _VKEY.fullmatch(text)
        try:
            octets = base64.b64decode(match[3], validate=True) if match else b""
            found = cls(match[1], NoteKeyKind(octets[0]), octets[1:]) if match else None
        except (ValueError, IndexError, binascii.Error):
            found = None
        # The key ID is checked by writing the key again.
        if found is None or found.encode() != text:
            raise MalformedMessage("not a key of signed notes")
        return found

    def verify(self, text: str, signature: bytes) -> int | None:
        """Return the time that a signature carries, None for a kind without; SignatureInvalid."""
        if not self.kind.is_timed:
            self._verify(signature, text.encode())
            return None
        if len(signature) <= _TIME.size:
            raise SignatureInvalid("a cosignature is too short")
        (time,) = _TIME.unpack(signature[: _TIME.size])
        if time > LATEST_TIME:
            raise SignatureInvalid("a cosignature's time is none")
        self._verify(signature[_TIME.size :], self._cosigned(text, time))
        return int(time)

    def _cosigned(self, text: str, time: int) -> bytes:
        if self.kind is NoteKeyKind.ED25519_COSIGNATURE:
            return cosigned_message(text, time)
        try:
            return _subtree_message(self.name, Checkpoint.decode(text), time)
        except MalformedMessage:  # this kind signs no other notes
            raise SignatureInvalid("what is cosigned is no checkpoint") from None

    def _verify(self, signature: bytes, message: bytes) -> None:
        try:
            if self.kind is NoteKeyKind.ML_DSA_44_COSIGNATURE:
                MLDSA44PublicKey.from_public_bytes(self.public_key).verify(signature, message)
            else:
                Ed25519PublicKey.from_public_bytes(self.public_key).verify(signature, message)
        except (InvalidSignature, ValueError, UnsupportedAlgorithm):
            raise SignatureInvalid("a signature of a note does not verify") from None


@dataclass(frozen=True, slots=True)
class Signed:
    """A key that has signed a note, and when, if it says so (Unix seconds)."""

    key: NoteKey
    time: int | None


def signers(note: Note, keys: Iterable[NoteKey]) -> tuple[Signed, ...]:
    """Return which of `keys` have signed, each once; SignatureInvalid for a line that is forged.

    Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID (but not
    both) with a known key. Of a witness that signed twice the later time counts.
    """
    known = {(key.name, key.key_id): key for key in keys}
    found: dict[NoteKey, Signed] = {}
    for line in note.signatures:
        key = known.get((line.name, line.key_id))
        if key is None:
            continue
        signed = Signed(key, key.verify(note.text, line.signature))
        before = found.get(key)
        if before is None or (before.time or 0) < (signed.time or 0):
            found[key] = signed
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A private key with its name; of the Ed25519 kinds."""

    name: str
    kind: NoteKeyKind
    private_key: Ed25519PrivateKey = field(repr=False)

    @property
    def key(self) -> NoteKey:
        """Its public half."""
        return NoteKey(self.name, self.kind, self.private_key.public_key().public_bytes_raw())

    def sign(self, text: str, time: int | None = None) -> NoteSignature:
        """Return the line to add below a text; `time` (Unix seconds) for a cosignature alone."""
        if (time is not None) != self.kind.is_timed:
            raise ValueError("a cosignature has a time, and no other signature has")
        if time is None:
            return NoteSignature(self.name, self.key.key_id, self.private_key.sign(text.encode()))
        signature = _TIME.pack(time) + self.private_key.sign(cosigned_message(text, time))
        return NoteSignature(self.name, self.key.key_id, signature)


def cosigned_message(text: str, time: int) -> bytes:
    """Return what an Ed25519 cosignature signs: its header keeps it apart from a note's text."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _subtree_message(name: str, checkpoint: Checkpoint, time: int) -> bytes:
    """Return what an ML-DSA-44 cosignature signs; the tree begins at its first entry."""
    names = (name.encode(), checkpoint.origin.encode())
    if any(len(each) > 255 for each in names):
        raise SignatureInvalid("a name is too long to be cosigned")
    cosigner, origin = (bytes([len(each)]) + each for each in names)
    numbers = struct.pack(">QQ", 0, checkpoint.size)
    return b"subtree/v1\n\0" + cosigner + _TIME.pack(time) + origin + numbers + checkpoint.root

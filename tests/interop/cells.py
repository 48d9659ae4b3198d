"""The matrix: which cells there are, and which of them a peer cannot fill."""

import enum
import itertools
from dataclasses import dataclass

from protocol.hpke import Aead
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from tests.interop.peers import PEERS

SIZES = (0, 1, 16_383, 16_384, 5_000_000)
"""Octets of content: nothing, almost nothing, both sides of a varint and a chunk, many chunks."""


class Role(enum.Enum):
    """What the peer is; ours is the other."""

    CLIENT = "client"
    GATEWAY = "gateway"


class Form(enum.Enum):
    """How the request is written in Binary HTTP (RFC 9292, Sections 3.1, 3.2 and 3.8)."""

    KNOWN = "known"
    INDETERMINATE = "indeterminate"
    PADDED = "padded"
    TRUNCATED = "truncated"


class Framing(enum.Enum):
    """RFC 9458, or its chunked successor."""

    WHOLE = "whole"
    CHUNKED = "chunked"


SUITES = {
    Aead.AES_128_GCM: "AES-128-GCM",
    Aead.AES_256_GCM: "AES-256-GCM",
    Aead.CHACHA20_POLY1305: "ChaCha20-Poly1305",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One peer in one role with one suite, one form and one mechanism."""

    peer: str
    role: Role
    framing: Framing
    form: Form
    suite: Aead
    kem: Kem = X25519_HKDF_SHA256

    def __str__(self) -> str:
        names = (self.peer, self.framing.value, self.form.value, SUITES[self.suite])
        return "-".join(names if self.kem is X25519_HKDF_SHA256 else (*names, self.kem.name))


@dataclass(frozen=True, slots=True)
class NotOffered:
    """The peer has no way to do it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Fails:
    """The peer tries and fails, saying `complaint`."""

    reason: str
    complaint: str


X_WING_FORMS = {Framing.WHOLE: Form.KNOWN, Framing.CHUNKED: Form.INDETERMINATE}
"""What every peer writes in its framing: forms and mechanisms know nothing of each other."""


def cells(role: Role) -> list[Cell]:
    """Return the cells of a role: with X25519 in all forms, with X-Wing in one of each framing."""
    combined = itertools.product(PEERS, Framing, Form, SUITES)
    found = [Cell(peer.name, role, framing, form, suite) for peer, framing, form, suite in combined]
    return found + [
        Cell(peer.name, role, framing, form, suite, X_WING)
        for peer, (framing, form), suite in itertools.product(PEERS, X_WING_FORMS.items(), SUITES)
    ]


def limit(cell: Cell) -> NotOffered | Fails | None:
    """Return why a cell cannot be filled, if so."""
    return _LIMITS[cell.peer](cell)


def _rust(cell: Cell) -> NotOffered | Fails | None:
    if cell.suite is Aead.AES_256_GCM:
        return NotOffered("does not know the suite")
    chunked_client = cell.role is Role.CLIENT and cell.framing is Framing.CHUNKED
    if chunked_client and cell.suite is Aead.CHACHA20_POLY1305:
        return Fails("panics at response nonces of 32 octets", "out of range for slice of length")
    return None


def _go(cell: Cell) -> NotOffered | Fails | None:
    if cell.role is Role.GATEWAY:
        return None
    if cell.form is Form.TRUNCATED:
        return NotOffered("writes no truncated messages")
    if cell.framing is Framing.WHOLE and cell.form is Form.INDETERMINATE:
        return NotOffered("writes indeterminate length in chunks only")
    if cell.framing is Framing.CHUNKED and cell.form is Form.KNOWN:
        return NotOffered("writes chunks with indeterminate length only")
    return None


def _javascript(cell: Cell) -> NotOffered | Fails | None:
    if cell.framing is Framing.CHUNKED:
        return NotOffered("no package does chunks")
    if cell.role is Role.CLIENT and cell.form is Form.INDETERMINATE:
        return NotOffered("writes known length only")
    return None


_LIMITS = {"rust": _rust, "go": _go, "javascript": _javascript}

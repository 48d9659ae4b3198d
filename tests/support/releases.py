"""Builders, witnesses, a log and a mirror of releases, with keys that are the same in each run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from oblivious_client.releases.published import Unverified, cosigned, unsigned
from oblivious_client.releases.statements import Change, Release, Statement
from oblivious_client.releases.trust import DAY_SECONDS, Quorum, Trust
from protocol.note_key import NoteKeyKind, NoteSigner
from protocol.signed_note import Note

ORIGIN = "releases.example/oblivious-inference"
NOW = 1_800_000_000
"""A Unix second at which the lists of tests are looked at."""


def signer(name: str, kind: NoteKeyKind = NoteKeyKind.ED25519) -> NoteSigner:
    """Return the signer whose private key is the hash of its name."""
    seed = hashlib.sha256(f"{kind.value} {name}".encode()).digest()
    return NoteSigner(name, kind, Ed25519PrivateKey.from_private_bytes(seed))


def witness(name: str) -> NoteSigner:
    """Return a witness."""
    return signer(name, NoteKeyKind.ED25519_COSIGNATURE)


LOG = signer("log.example")
BUILDERS = [signer(f"build-{letter}.example") for letter in "abc"]
WITNESSES = [witness(f"witness-{letter}.example") for letter in "abc"]
STRANGER = signer("stranger.example")

TRUST = Trust(
    ORIGIN,
    LOG.key,
    Quorum(2, tuple(each.key for each in BUILDERS)),
    Quorum(2, tuple(each.key for each in WITNESSES)),
    frozenset({"witness-c.example"}),
)

ALONE = Trust(ORIGIN, LOG.key, Quorum(1, (BUILDERS[0].key,)), Quorum(1, (WITNESSES[0].key,)))
"""One maintainer, who is builder and witness in one person."""


def pcrs(seed: int) -> dict[int, bytes]:
    """Return registers that differ with `seed` and are never zero."""
    return {index: bytes([seed % 255 + 1, index + 1]) * 24 for index in range(3)}


def release(sequence: int, **more: Any) -> Release:
    """Return a release that began 30 days before NOW, and each one day after the one before."""
    members: dict[str, Any] = {
        "version": f"1.{sequence}.0",
        "sequence": sequence,
        "floor": 1,
        "valid_from": NOW - (30 - sequence) * DAY_SECONDS,
        "pcrs": pcrs(sequence),
        "commit": f"{sequence:040x}",
        "config": "c" * 64,
        "image": f"{sequence:064x}",
        "kernel": "debian-6.12.117-1",
        "sbom": "5" * 64,
    }
    return Release(**{**members, **more})


def note(statement: Statement, builders: Iterable[NoteSigner] = BUILDERS[:2]) -> Note:
    """Return a statement with the lines of some builders."""
    text = statement.encode()
    return Note(text, ()).signed(builder.sign(text) for builder in builders)


def change(trust: Trust, builders: Iterable[NoteSigner]) -> Note:
    """Return a change of what is trusted."""
    return note(Change(trust), builders)


@dataclass(slots=True)
class Log:
    """A list that grows, and whoever signs its checkpoints."""

    trust: Trust = TRUST
    entries: list[Note] = field(default_factory=list)
    log: NoteSigner = LOG
    witnesses: Sequence[NoteSigner] = tuple(WITNESSES[:2])

    def add(self, *notes: Note) -> Log:
        """Put notes at the end."""
        self.entries += notes
        return self

    def notes(self, time: int = NOW - DAY_SECONDS) -> Unverified:
        """Return the list, witnessed at a Unix second."""
        found = cosigned(unsigned(self.entries, self.trust), self.log)
        for each in self.witnesses:
            found = cosigned(found, each, time)
        return found

    def served(self, time: int = NOW - DAY_SECONDS) -> bytes:
        """Return `releases.json`."""
        return self.notes(time).encode()

    def fork(self, size: int) -> Log:
        """Return a list that begins with the first entries of this one."""
        return replace(self, entries=self.entries[:size])


def log_of(*releases: Release, trust: Trust = TRUST) -> Log:
    """Return a list of releases, each signed by two builders."""
    builders = BUILDERS if trust is TRUST else BUILDERS[:1]
    return Log(trust).add(*(note(each, builders[:2]) for each in releases))

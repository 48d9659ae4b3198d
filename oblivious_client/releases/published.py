"""The list of releases: decoded and verified in steps, each before the next.

    {"checkpoint": "<note>", "entries": ["<note>", …]}

1. Every entry is a note, and its text a statement in its one form.
2. A change of what is trusted is signed by enough of the old builders, and of the new ones.
3. The checkpoint is of this list: its origin, the number of entries, the root of their texts.
4. The log's key has signed it, and enough witnesses, which say until when nothing else was seen.

Signatures of builders are verified when a release is to be accepted (`Entry.signers`): nobody
asks who signed what is no longer taken, and its text is bound by the root anyway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from oblivious_client.releases import statements
from oblivious_client.releases.refusals import ListFault, ListRefused
from oblivious_client.releases.statements import Change, Release, Statement
from oblivious_client.releases.trust import Quorum, Trust
from protocol import strict_json
from protocol.checkpoint import Checkpoint
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.merkle_tree import root_hash
from protocol.note_key import NoteKey, NoteSigner, Signed, signers
from protocol.signed_note import Note

MAX_LIST_BYTES = 1 << 20
"""A thousand releases; relays keep a copy of as much."""

MAX_ENTRIES = 4096

_MEMBERS = frozenset({"checkpoint", "entries"})


@dataclass(frozen=True, slots=True)
class Unverified:
    """A list as it was served: notes, nothing of them verified."""

    checkpoint: Note
    entries: tuple[Note, ...]

    def encode(self) -> bytes:
        """Return `releases.json`."""
        entries = [note.encode() for note in self.entries]
        members = {"checkpoint": self.checkpoint.encode(), "entries": entries}
        return json.dumps(members, indent=1, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Unverified:
        """Read `releases.json`, or raise ListRefused."""
        try:
            if len(data) > MAX_LIST_BYTES:
                raise MalformedMessage("the list is too large")
            members = strict_json.decode_members(data, _MEMBERS)
            checkpoint, entries = members["checkpoint"], members["entries"]
            if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
                raise MalformedMessage("the entries are no list, or too many")
            if not all(isinstance(each, str) for each in (checkpoint, *entries)):
                raise MalformedMessage("a note is no text")
            return cls(Note.decode(checkpoint), tuple(map(Note.decode, entries)))
        except MalformedMessage as error:
            raise ListRefused(ListFault.MALFORMED, str(error)) from None

    def root(self, size: int | None = None) -> bytes:
        """Return the root of the first `size` texts, of all unless it says."""
        return root_hash([note.text.encode() for note in self.entries[:size]])


@dataclass(frozen=True)
class Entry:
    """A statement, the note that it stands in, and what is trusted there."""

    statement: Statement
    note: Note
    trust: Trust

    @cached_property
    def signers(self) -> tuple[NoteKey, ...]:
        """The builders that have signed, each once; none where a known one's line is forged."""
        return tuple(each.key for each in _signers(self.note, self.trust.builders))

    @property
    def is_signed(self) -> bool:
        """Whether enough builders have signed."""
        return len(self.signers) >= self.trust.builders.threshold


@dataclass(frozen=True, slots=True)
class Published:
    """A verified list: `trust` is what stands at its end, `as_of` the witnesses' time.

    That many witnesses as have to had seen nothing longer at that Unix second, or later.
    """

    notes: Unverified
    entries: tuple[Entry, ...]
    trust: Trust
    checkpoint: Checkpoint
    as_of: int
    witnesses: tuple[Signed, ...]

    def releases(self) -> tuple[tuple[Entry, Release], ...]:
        """Return the releases with their entries, oldest first."""
        return tuple(
            (entry, entry.statement)
            for entry in self.entries
            if isinstance(entry.statement, Release)
        )


def verify(notes: Unverified, trust: Trust) -> Published:
    """Return the list once all of it is proven, or raise ListRefused."""
    found = verify_unwitnessed(notes, trust)
    witnesses = _witnesses(notes.checkpoint, found.trust)
    # The latest time that as many as have to agree on.
    times = sorted((each.time or 0 for each in witnesses), reverse=True)
    as_of = times[found.trust.witnesses.threshold - 1]
    return replace(found, as_of=as_of, witnesses=witnesses)


def verify_unwitnessed(notes: Unverified, trust: Trust) -> Published:
    """Return what `verify` does, for who is to witness the list: its age is nobody's yet."""
    entries, last = _entries(notes, trust)
    checkpoint = _checkpoint(notes, last)
    _require_log(notes.checkpoint, last)
    return Published(notes, entries, last, checkpoint, 0, ())


def unsigned(entries: Iterable[Note], trust: Trust) -> Unverified:
    """Return a list whose checkpoint nobody has signed yet."""
    found = tuple(entries)
    root = root_hash([note.text.encode() for note in found])
    return Unverified(Note(Checkpoint(trust.origin, len(found), root).encode(), ()), found)


def cosigned(notes: Unverified, signer: NoteSigner, time: int | None = None) -> Unverified:
    """Return the list with one more line below its checkpoint, which replaces the signer's last."""
    line = signer.sign(notes.checkpoint.text, time)
    others = [
        each
        for each in notes.checkpoint.signatures
        if (each.name, each.key_id) != (line.name, line.key_id)
    ]
    return replace(notes, checkpoint=replace(notes.checkpoint, signatures=(*others, line)))


def statements_of(notes: Unverified, trust: Trust) -> tuple[Entry, ...]:
    """Return the entries, changes of trust verified and the rest not; raises ListRefused."""
    return _entries(notes, trust)[0]


def _entries(notes: Unverified, trust: Trust) -> tuple[tuple[Entry, ...], Trust]:
    entries = []
    named: set[tuple[int, str]] = set()
    highest = 0
    for number, note in enumerate(notes.entries, 1):
        try:
            statement = statements.decode(note.text, trust)
        except MalformedMessage as error:
            raise ListRefused(ListFault.MALFORMED, f"entry {number}: {error}") from None
        entry = Entry(statement, note, trust)
        entries.append(entry)
        if isinstance(statement, Change):
            trust = _changed(number, entry, statement)
            continue
        # One number, one release: its images differ in the kernel.
        name = (statement.sequence, statement.kernel)
        if name in named or statement.sequence < highest:
            raise ListRefused(
                ListFault.MALFORMED, f"entry {number}: its number was given before, or is no later"
            )
        named.add(name)
        highest = statement.sequence
    return tuple(entries), trust


def _changed(number: int, entry: Entry, change: Change) -> Trust:
    new = change.trust.builders
    by_new = _signers(entry.note, new)
    if not entry.is_signed or len(by_new) < new.threshold:
        raise ListRefused(
            ListFault.CHANGE,
            f"entry {number} changes who is trusted, and {len(entry.signers)} old and "
            f"{len(by_new)} new builders have signed it of {entry.trust.builders} and {new}",
        )
    return change.trust


def _signers(note: Note, quorum: Quorum) -> tuple[Signed, ...]:
    try:
        return signers(note, quorum.keys)
    except SignatureInvalid:
        return ()  # a forged line of a known key: the whole note counts for nothing


def _checkpoint(notes: Unverified, trust: Trust) -> Checkpoint:
    try:
        found = Checkpoint.decode(notes.checkpoint.text)
    except MalformedMessage as error:
        raise ListRefused(ListFault.MALFORMED, str(error)) from None
    if found.origin != trust.origin:
        raise ListRefused(ListFault.ORIGIN, f"it is the list {found.origin}, not {trust.origin}")
    if found.size != len(notes.entries) or found.root != notes.root():
        raise ListRefused(ListFault.ROOT, "its checkpoint is of other entries")
    return found


def _require_log(checkpoint: Note, trust: Trust) -> None:
    try:
        signed = signers(checkpoint, [trust.log])
    except SignatureInvalid:
        signed = ()
    if not signed:
        raise ListRefused(ListFault.LOG, "the log's key has not signed its checkpoint")


def _witnesses(checkpoint: Note, trust: Trust) -> tuple[Signed, ...]:
    try:
        found = signers(checkpoint, trust.witnesses.keys)
    except SignatureInvalid:
        raise ListRefused(ListFault.WITNESSES, "a witness's signature is forged") from None
    if len(found) < trust.witnesses.threshold:
        raise ListRefused(
            ListFault.WITNESSES,
            f"{len(found)} witnesses have seen it, and it takes {trust.witnesses}: "
            "it may have been made for you alone",
        )
    return found

"""Whether others are given the same keys: notes of mirrors, who ask as ordinary clients do.

A relay and a host that work together can give one person an enclave of his own, and so take the
crowd from him. A mirror asks for evidence every few minutes, verifies it, and signs with the time
which lists of keys it has seen. A list made for one person then has to be shown to the mirror too,
and a note has room for few lists in two days: so the crowd is not smaller than that share of all.

    oblivious-inference/keys-seen/v1
    {"gateway":"…","lists":[["sha256 of the key list", first seen, last seen],…],"window":172800}
"""

from __future__ import annotations

import enum
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from oblivious_client.releases.trust import MAX_LISTS, Quorum
from protocol import strict_json
from protocol.errors import MalformedMessage, ProtocolError, SignatureInvalid
from protocol.note_key import LATEST_TIME, NoteKey, signers
from protocol.signed_note import Note, is_key_name

HEADER = "oblivious-inference/keys-seen/v1"

WINDOW_SECONDS = 172_800
"""For which a mirror tells what it has seen: longer than keys are used."""

NOTE_SECONDS = 3600
"""The oldest note that is taken; mirrors ask every five minutes."""

SKEW_SECONDS = 300

MOST_LISTS = 4096
MOST_NOTES = 32

_MEMBERS = frozenset({"gateway", "lists", "window"})
_SHA256 = re.compile(r"[0-9a-f]{64}")


class SightingFault(enum.Enum):
    """Why notes of mirrors do not vouch for a list of keys."""

    SILENT = "silent"
    UNSEEN = "unseen"
    CROWDED = "crowded"


class NotSighted(ProtocolError):
    """Too few mirrors have seen the keys as everybody's."""

    def __init__(self, fault: SightingFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Sighting:
    """A list of keys by its SHA-256, and when a mirror saw it first and last (Unix seconds)."""

    digest: str
    first_seen: int
    last_seen: int

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.digest):
            raise ValueError("a list of keys is not named by its SHA-256")
        if not 0 < self.first_seen <= self.last_seen <= LATEST_TIME:
            raise ValueError("the times of a list of keys are none")


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """What a mirror has seen of a gateway within `window` seconds; ValueError for what is none."""

    gateway: str
    window: int
    lists: tuple[Sighting, ...]

    def __post_init__(self) -> None:
        if not is_key_name(self.gateway) or not 0 < self.window <= LATEST_TIME:
            raise ValueError("not a gateway's name and a window")
        digests = [each.digest for each in self.lists]
        if sorted(set(digests)) != digests or len(digests) > MOST_LISTS:
            raise ValueError("the lists are not in their order, each once, and few")

    def encode(self) -> str:
        """Return the text that mirrors sign."""
        lists = [[each.digest, each.first_seen, each.last_seen] for each in self.lists]
        members = {"gateway": self.gateway, "lists": lists, "window": self.window}
        return f"{HEADER}\n{json.dumps(members, sort_keys=True, separators=(',', ':'))}\n"

    @classmethod
    def decode(cls, text: str) -> KeysSeen:
        """Read the text of a note, or raise MalformedMessage."""
        header, _, line = text.partition("\n")
        if header != HEADER:
            raise MalformedMessage("not a mirror's note")
        members = strict_json.decode_object(line.removesuffix("\n"))
        if members.keys() != _MEMBERS:
            raise MalformedMessage("not the members of a mirror's note")
        gateway, window = members["gateway"], members["window"]
        if not isinstance(gateway, str) or type(window) is not int:
            raise MalformedMessage("not a gateway's name and a window")
        try:
            found = cls(gateway, window, tuple(map(_sighting, members["lists"])))
        except (TypeError, ValueError):
            raise MalformedMessage("not what a mirror's note says") from None
        if found.encode() != text:
            raise MalformedMessage("a mirror's note is not in its one form")
        return found

    def seeing(self, ohttp_keys: bytes, now: int) -> KeysSeen:
        """Return what a mirror says that has seen a list of keys; what is long ago is dropped."""
        digest = digest_of(ohttp_keys)
        kept = {each.digest: each for each in self.lists if each.last_seen >= now - self.window}
        first = kept[digest].first_seen if digest in kept else now
        kept[digest] = Sighting(digest, first, now)
        lists = tuple(sorted(kept.values(), key=lambda each: each.digest))
        return KeysSeen(self.gateway, self.window, lists)


@dataclass(frozen=True, slots=True)
class Mirrors:
    """Which mirrors have to vouch, for which gateway (None: any), and for how many lists at most.

    `is_required`: a question is refused, not warned of, where they do not vouch for its keys.
    """

    quorum: Quorum
    gateway: str | None = None
    max_lists: int = MAX_LISTS
    is_required: bool = True

    def check(self, served: bytes, ohttp_keys: bytes, now: float) -> tuple[NoteKey, ...]:
        """Return the mirrors that have seen the keys as everybody's; raises NotSighted if too few.

        Notes that are damaged, old, of others or of another gateway vouch for nothing.
        """
        vouching: dict[NoteKey, None] = {}
        fault, digest = SightingFault.SILENT, digest_of(ohttp_keys)
        for note in _notes(served):
            fresh = self._fresh_signers(note, now)
            said = self._said(note)
            if not fresh or said is None:
                continue
            if all(each.digest != digest for each in said.lists):
                fault = _worse(fault, SightingFault.UNSEEN)
            elif _within(said, now) > self.max_lists:
                fault = SightingFault.CROWDED
            else:
                vouching |= dict.fromkeys(fresh)
        if len(vouching) >= self.quorum.threshold:
            return tuple(vouching)
        raise NotSighted(fault, _DETAILS[fault].format(most=self.max_lists, quorum=self.quorum))

    def _fresh_signers(self, note: Note, now: float) -> list[NoteKey]:
        try:
            signed = signers(note, self.quorum.keys)
        except SignatureInvalid:
            return []  # a forged line of a known mirror: the whole note counts for nothing
        return [
            each.key for each in signed if -SKEW_SECONDS <= now - (each.time or 0) <= NOTE_SECONDS
        ]

    def _said(self, note: Note) -> KeysSeen | None:
        try:
            said = KeysSeen.decode(note.text)
        except MalformedMessage:
            return None
        is_ours = self.gateway is None or said.gateway == self.gateway
        # A shorter window would have room for as many lists in less time.
        return said if is_ours and said.window >= WINDOW_SECONDS else None


_DETAILS = {
    SightingFault.SILENT: "fewer than {quorum} mirrors say anything of this hour",
    SightingFault.UNSEEN: "fewer than {quorum} mirrors have seen the keys that were served here",
    SightingFault.CROWDED: "mirrors have seen more than {most} lists of keys in two days",
}


def digest_of(ohttp_keys: bytes) -> str:
    """Return the name of a list of keys."""
    return hashlib.sha256(ohttp_keys).hexdigest()


def encode_notes(notes: Iterable[Note]) -> bytes:
    """Return the file that relays serve."""
    texts = [note.encode() for note in notes]
    return json.dumps({"notes": texts}, indent=1, ensure_ascii=False).encode() + b"\n"


def decode_notes(served: bytes) -> list[Note]:
    """Read the file that relays serve, or raise MalformedMessage."""
    texts = strict_json.decode_members(served, frozenset({"notes"}))["notes"]
    if not isinstance(texts, list) or len(texts) > MOST_NOTES:
        raise MalformedMessage("the notes are no list, or too many")
    if not all(isinstance(each, str) for each in texts):
        raise MalformedMessage("a note is no text")
    return [Note.decode(each) for each in texts]


def _notes(served: bytes) -> list[Note]:
    try:
        return decode_notes(served)
    except MalformedMessage:
        return []


def _sighting(value: Any) -> Sighting:
    digest, first_seen, last_seen = value
    if not isinstance(digest, str) or any(type(each) is not int for each in value[1:]):
        raise ValueError("not a digest and two times")
    return Sighting(digest, first_seen, last_seen)


def _within(said: KeysSeen, now: float) -> int:
    return sum(each.last_seen >= now - said.window for each in said.lists)


def _worse(fault: SightingFault, other: SightingFault) -> SightingFault:
    return fault if fault is SightingFault.CROWDED else other

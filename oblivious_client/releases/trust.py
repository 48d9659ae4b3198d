"""Whose word is taken for releases: names, keys and thresholds.

The first of these comes with the client (`trust.json`) or from its user; entries of the list can
change all but the origin, if enough of the old and of the new builders sign the change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from protocol import strict_json
from protocol.errors import MalformedMessage
from protocol.note_key import NoteKey, NoteKeyKind
from protocol.signed_note import is_key_name

FRESH_DAYS = 7
"""For so long a list may be relied on after its witnesses looked; they look every other day."""

WARN_DAYS = 2
"""So long before its end a list's age is worth a warning."""

OVERLAP_DAYS = 14
"""For so long a release is taken after its successor has begun."""

MAX_LISTS = 16
"""Of keys that a mirror may see within two days: about four for each enclave of a fleet."""

MOST_KEYS = 32
MOST_DAYS = 365
DAY_SECONDS = 86400

_MEMBERS = frozenset(
    {"builders", "fresh_days", "independent", "log", "max_lists", "overlap_days", "witnesses"}
)
_SIGNERS = frozenset({NoteKeyKind.ED25519})
_WITNESSES = frozenset({NoteKeyKind.ED25519_COSIGNATURE, NoteKeyKind.ML_DSA_44_COSIGNATURE})


@dataclass(frozen=True, slots=True)
class Quorum:
    """How many of some keys have to sign."""

    threshold: int
    keys: tuple[NoteKey, ...]

    def __str__(self) -> str:
        return f"{self.threshold} of {len(self.keys)}"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, how many of them, and for how long; ValueError for what is none.

    `independent` names the witnesses that the builders do not run.
    """

    origin: str
    log: NoteKey
    builders: Quorum
    witnesses: Quorum
    independent: frozenset[str] = frozenset()
    fresh_days: int = FRESH_DAYS
    overlap_days: int = OVERLAP_DAYS
    max_lists: int = MAX_LISTS

    def __post_init__(self) -> None:
        if not is_key_name(self.origin):
            raise ValueError("the origin is no name")
        _require_kinds("log", (self.log,), _SIGNERS)
        _require_quorum("builders", self.builders, _SIGNERS)
        _require_quorum("witnesses", self.witnesses, _WITNESSES)
        keys = (self.log, *self.builders.keys, *self.witnesses.keys)
        # One key under two names would be counted twice.
        if len({key.public_key for key in keys}) != len(keys):
            raise ValueError("a key stands there twice")
        if not self.independent <= {key.name for key in self.witnesses.keys}:
            raise ValueError("an independent witness is none of the witnesses")
        _require_range("fresh_days", self.fresh_days, MOST_DAYS)
        _require_range("overlap_days", self.overlap_days, MOST_DAYS)
        _require_range("max_lists", self.max_lists, 1 << 16)

    def encode(self) -> dict[str, Any]:
        """Return what an entry of the list says of it: all but the origin."""
        return {
            "builders": _members(self.builders),
            "fresh_days": self.fresh_days,
            "independent": sorted(self.independent),
            "log": self.log.encode(),
            "max_lists": self.max_lists,
            "overlap_days": self.overlap_days,
            "witnesses": _members(self.witnesses),
        }

    def changed(self, members: Mapping[str, Any]) -> Trust:
        """Return what is trusted after a change, or raise MalformedMessage."""
        return _trust(self.origin, members)

    def encode_file(self) -> bytes:
        """Return the content of `trust.json`."""
        text = json.dumps({"origin": self.origin, **self.encode()}, indent=2)
        return text.encode() + b"\n"

    @classmethod
    def decode_file(cls, data: bytes) -> Trust:
        """Read `trust.json`, or raise MalformedMessage."""
        members = strict_json.decode_members(data, _MEMBERS | {"origin"})
        origin = members.pop("origin")
        if not isinstance(origin, str):
            raise MalformedMessage("the origin is no text")
        return _trust(origin, members)

    def in_words(self) -> str:
        """Return who has to sign, for people; one builder alone is shown as what it is."""
        own = len(self.witnesses.keys) - len(self.independent)
        return (
            f"{self.builders} {_named('builder', self.builders)}, "
            f"{self.witnesses} {_named('witness', self.witnesses)}"
            f" ({len(self.independent)} independent, {own} of the builders' own)"
        )


def _named(noun: str, quorum: Quorum) -> str:
    if len(quorum.keys) == 1:
        return noun
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _trust(origin: str, members: Mapping[str, Any]) -> Trust:
    if members.keys() != _MEMBERS:
        raise MalformedMessage("not the members of what is trusted")
    independent = members["independent"]
    if not isinstance(independent, list) or not all(isinstance(each, str) for each in independent):
        raise MalformedMessage("the independent witnesses are no list of names")
    if sorted(set(independent)) != independent:
        raise MalformedMessage("the independent witnesses are not in their order, each once")
    try:
        return Trust(
            origin,
            _key(members["log"]),
            _quorum(members["builders"]),
            _quorum(members["witnesses"]),
            frozenset(independent),
            _number(members["fresh_days"]),
            _number(members["overlap_days"]),
            _number(members["max_lists"]),
        )
    except ValueError as error:
        raise MalformedMessage(str(error)) from None


def _members(quorum: Quorum) -> dict[str, Any]:
    return {"keys": [key.encode() for key in quorum.keys], "threshold": quorum.threshold}


def _quorum(value: object) -> Quorum:
    if not isinstance(value, dict) or value.keys() != {"keys", "threshold"}:
        raise MalformedMessage("not keys and a threshold")
    keys = value["keys"]
    if not isinstance(keys, list) or len(keys) > MOST_KEYS:
        raise MalformedMessage("the keys are no list, or too many")
    return Quorum(_number(value["threshold"]), tuple(map(_key, keys)))


def _key(value: object) -> NoteKey:
    if not isinstance(value, str):
        raise MalformedMessage("a key is no text")
    return NoteKey.decode(value)


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise MalformedMessage("a number is none")
    return value


def _require_quorum(what: str, quorum: Quorum, kinds: frozenset[NoteKeyKind]) -> None:
    _require_kinds(what, quorum.keys, kinds)
    _require_range(f"the threshold of {what}", quorum.threshold, len(quorum.keys))
    if len({key.name for key in quorum.keys}) != len(quorum.keys):
        raise ValueError(f"two {what} have one name")


def _require_kinds(what: str, keys: tuple[NoteKey, ...], kinds: frozenset[NoteKeyKind]) -> None:
    if any(key.kind not in kinds for key in keys):
        raise ValueError(f"{what}: a key is of another kind")


def _require_range(what: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise ValueError(f"{what} is not between 1 and {most}")

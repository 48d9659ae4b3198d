"""What entries of the list say: a release of the enclave, or a change of what is trusted.

A statement is a line that names its kind and version, and a line of JSON in its one form: members
sorted, no spaces, ASCII. So all who sign a release sign the same octets.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oblivious_client.releases.refusals import ListFault, ListRefused
from oblivious_client.releases.trust import Trust
from protocol import strict_json
from protocol.attestation import PCR_BYTES
from protocol.errors import MalformedMessage
from protocol.note_key import LATEST_TIME

RELEASE = "oblivious-inference/release/v1"
CHANGE = "oblivious-inference/policy/v1"

CODE_PCRS = (0, 1, 2)
SIGNATURE_PCR = 8
"""Of images that are signed, which needs no statement but may stand in one."""

MOST_SEQUENCE = (1 << 31) - 1

_OURS = "oblivious-inference/"
_MEMBERS = frozenset(
    {
        *("commit", "config", "floor", "image", "kernel", "pcrs"),
        *("sbom", "sequence", "valid_from", "version"),
    }
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PCR = re.compile(rf"[0-9a-f]{{{2 * PCR_BYTES}}}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_-]{0,63}")
_FORMS = {"commit": _COMMIT, **dict.fromkeys(("config", "image", "sbom"), _SHA256)}
_WORDS = ("kernel", "version")


@dataclass(frozen=True, slots=True)
class Release:
    """An image: what it measures, what it is made of, from when on it may run (Unix seconds).

    `floor` is the lowest sequence that is still good enough; ValueError for what is no release.
    """

    version: str
    sequence: int
    floor: int
    valid_from: int
    pcrs: Mapping[int, bytes]
    commit: str
    config: str
    image: str
    kernel: str
    sbom: str

    def __post_init__(self) -> None:
        for name, form in (*_FORMS.items(), *((name, _WORD) for name in _WORDS)):
            if not form.fullmatch(getattr(self, name)):
                raise ValueError(f"{name} is not what a release says of it")
        # A floor above the release itself would forbid the release that brings it.
        if not 1 <= self.floor <= self.sequence <= MOST_SEQUENCE:
            raise ValueError("floor and sequence are not 1 ≤ floor ≤ sequence")
        if not 0 < self.valid_from <= LATEST_TIME:
            raise ValueError("valid_from is no time")
        _require_measured(self.pcrs)

    def encode(self) -> str:
        """Return the text that builders sign."""
        return _text(
            RELEASE,
            {
                "commit": self.commit,
                "config": self.config,
                "floor": self.floor,
                "image": self.image,
                "kernel": self.kernel,
                "pcrs": {str(index): value.hex() for index, value in self.pcrs.items()},
                "sbom": self.sbom,
                "sequence": self.sequence,
                "valid_from": self.valid_from,
                "version": self.version,
            },
        )

    def __str__(self) -> str:
        return f"{self.version} (number {self.sequence}, kernel {self.kernel})"


@dataclass(frozen=True, slots=True)
class Change:
    """Another trust, for what follows it in the list."""

    trust: Trust

    def encode(self) -> str:
        """Return the text that old and new builders sign."""
        return _text(CHANGE, self.trust.encode())


Statement = Release | Change


def decode(text: str, trust: Trust) -> Statement:
    """Read the text of an entry; `trust` is what stands before it. Raises MalformedMessage.

    ListRefused for a kind that a later version of this client knows: what it says must not be
    passed over, as it may be what takes a key away.
    """
    header, _, line = text.partition("\n")
    if header not in (RELEASE, CHANGE):
        if header.startswith(_OURS):
            raise ListRefused(
                ListFault.LATER_KIND,
                f"an entry is of a kind that this client does not know: {header}",
            )
        raise MalformedMessage("an entry is no statement of this project")
    members = strict_json.decode_object(line.removesuffix("\n"))
    found = _release(members) if header == RELEASE else Change(trust.changed(members))
    if found.encode() != text:
        raise MalformedMessage("a statement is not in its one form")
    return found


def _text(header: str, members: Mapping[str, Any]) -> str:
    return f"{header}\n{json.dumps(members, sort_keys=True, separators=(',', ':'))}\n"


def _release(members: Mapping[str, Any]) -> Release:
    if members.keys() != _MEMBERS:
        raise MalformedMessage("not the members of a release")
    texts = {name: members[name] for name in (*_FORMS, *_WORDS)}
    numbers = {name: members[name] for name in ("sequence", "floor", "valid_from")}
    if not all(isinstance(each, str) for each in texts.values()):
        raise MalformedMessage("a member of a release is no text")
    if any(isinstance(each, bool) or not isinstance(each, int) for each in numbers.values()):
        raise MalformedMessage("a member of a release is no number")
    try:
        return Release(pcrs=_pcrs(members["pcrs"]), **texts, **numbers)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None


def _pcrs(value: object) -> dict[int, bytes]:
    if not isinstance(value, dict):
        raise MalformedMessage("pcrs is no object")
    found = {}
    for name, register in value.items():
        if not re.fullmatch(r"[0-9]", name) or not isinstance(register, str):
            raise MalformedMessage("a register has no number, or no text")
        if not _PCR.fullmatch(register):
            raise MalformedMessage("a register is not in hexadecimal")
        found[int(name)] = bytes.fromhex(register)
    return found


def _require_measured(pcrs: Mapping[int, bytes]) -> None:
    if not set(CODE_PCRS) <= pcrs.keys() <= {*CODE_PCRS, SIGNATURE_PCR}:
        raise ValueError("not the registers of an image: PCR0, PCR1, PCR2, of signed ones PCR8")
    # Zeros are what every enclave in debug mode reports, whatever runs in it.
    if any(len(value) != PCR_BYTES or not any(value) for value in pcrs.values()):
        raise ValueError("a register is zero, or not of its size")

"""Evidence kept on disk until it expires, so that a second question costs no round trip.

What is read back is verified again: the file is a shortcut, not something to trust.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from oblivious_client import places
from oblivious_client.endpoint import Endpoint
from oblivious_client.policy import Policy
from protocol import strict_json
from protocol.errors import ProtocolError

_DAMAGE = (ProtocolError, ValueError, OverflowError, KeyError, TypeError, AttributeError)
"""What is raised by a file that is none of ours: no JSON, other members, members of other types."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Encoded evidence and the Unix second until which it may be used."""

    evidence: bytes
    expires: float


def default_directory() -> Path:
    """Return the cache directory of this user."""
    return places.cache()


@dataclass(frozen=True, slots=True)
class EvidenceCache:
    """One file for each address and policy, readable by its owner alone."""

    directory: Path

    def load(self, endpoint: Endpoint, policy: Policy) -> Entry | None:
        """Return the stored entry, or None if there is none that can be read."""
        try:
            # No number that is none: what expires at NaN would never do so.
            stored = strict_json.decode_object(self._path(endpoint, policy).read_bytes())
            return Entry(stored["evidence"].encode(), float(stored["expires"]))
        except (OSError, *_DAMAGE):
            return None  # a damaged file is as good as none: the evidence is fetched

    def store(self, endpoint: Endpoint, policy: Policy, entry: Entry) -> None:
        """Replace the entry at once; a disk that cannot be written is no error."""
        text = json.dumps({"evidence": entry.evidence.decode(), "expires": entry.expires})
        try:
            places.make_private(self.directory)
            # mkstemp makes the file with mode 0600; the rename keeps it.
            handle, name = tempfile.mkstemp(dir=self.directory)
        except OSError:
            return  # without a cache the next question fetches again
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
            Path(name).replace(self._path(endpoint, policy))
        except OSError:
            Path(name).unlink(missing_ok=True)

    def forget(self, endpoint: Endpoint, policy: Policy) -> None:
        """Drop the entry."""
        try:
            self._path(endpoint, policy).unlink()
        except OSError:
            return  # there is none, or it is replaced or expires

    def _path(self, endpoint: Endpoint, policy: Policy) -> Path:
        key = f"{endpoint}\n{policy.fingerprint()}".encode()
        return self.directory / f"{hashlib.sha256(key).hexdigest()[:32]}.json"

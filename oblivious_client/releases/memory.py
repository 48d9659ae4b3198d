"""The longest list that was seen, on disk: nobody can take a release back unnoticed, or the past.

What is read back is verified again. Two lists that contradict one another are kept, both: together
they prove that somebody signed two pasts. Then nothing is relied on until a person decides.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from oblivious_client import places
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.releases.published import Published, Unverified
from oblivious_client.releases.trust import Trust
from protocol import strict_json
from protocol.errors import ProtocolError

SEEN = "seen.json"
LOCK = "lock.sqlite3"

BUSY_SECONDS = 30.0
"""For which others are waited for: what they do between reading and writing takes milliseconds."""

CONFLICT = "conflict-{}.json"

_DAMAGE = (ProtocolError, ValueError, OverflowError, KeyError, TypeError, AttributeError)


@dataclass(frozen=True, slots=True)
class Seen:
    """A list, its size and root, and when it was fetched (Unix seconds)."""

    notes: Unverified
    size: int
    root: bytes
    fetched: float


@dataclass(frozen=True, slots=True)
class ReleaseMemory:
    """One directory for each list that is trusted, readable by its owner alone."""

    directory: Path

    def load(self) -> Seen | None:
        """Return what was seen; None before anything was. Raises UsageError for a damaged file.

        A damaged memory is not as good as none: forgetting is what an attacker wants.
        """
        try:
            stored = strict_json.decode_object(self._seen.read_bytes())
            notes = Unverified.decode(json.dumps(stored["list"]).encode())
            root = base64.b64decode(stored["root"], validate=True)
            size, fetched = int(stored["size"]), float(stored["fetched"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"cannot read {self._seen}: {error.strerror}") from error
        except _DAMAGE as error:
            raise UsageError(
                f"{self._seen} is damaged, which is what this client remembers of releases",
                advice="if you know why, start anew: oblivious-client releases fetch --forget",
            ) from error
        return Seen(notes, size, root, fetched)

    def store(self, published: Published, fetched: float) -> None:
        """Remember a list that follows what was seen; raises UsageError if the disk does not."""
        checkpoint = published.checkpoint
        members = {
            "size": checkpoint.size,
            "root": base64.b64encode(checkpoint.root).decode(),
            "fetched": fetched,
            "list": json.loads(published.notes.encode()),
        }
        self._write(SEEN, json.dumps(members).encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes out, from what is read to what is then written; else UsageError.

        Whoever read before another wrote would put a shorter list in its place.
        """
        import sqlite3  # here, since few commands take a list

        try:
            places.make_private(self.directory)
            lock = sqlite3.connect(
                self.directory / LOCK, timeout=BUSY_SECONDS, isolation_level=None
            )
        except (OSError, sqlite3.Error) as error:
            raise self._unwritable(error) from error
        with closing(lock):
            try:
                lock.execute("BEGIN IMMEDIATE")  # a lock that ends with its process
            except sqlite3.Error as error:
                raise self._unwritable(error) from error
            yield

    def require_no_conflict(self) -> None:
        """Raise EvidenceRefused while two lists that contradict one another lie there."""
        found = self.conflicts()
        if found:
            raise contradiction(found)

    def conflicts(self) -> list[Path]:
        """Return the files that were kept as proof."""
        return sorted(self.directory.glob(CONFLICT.format("*")))

    def keep_conflict(self, seen: Unverified, served: Unverified) -> list[Path]:
        """Keep two lists that contradict one another; return where."""
        for name, notes in (("seen", seen), ("served", served)):
            self._write(CONFLICT.format(name), notes.encode())
        return self.conflicts()

    def forget(self, now: float) -> None:
        """Begin anew; the proof of a conflict stays, under names that stop nothing."""
        for path in self.conflicts():
            path.replace(path.with_name(f"settled-{int(now)}-{path.name}"))
        self._seen.unlink(missing_ok=True)

    @property
    def _seen(self) -> Path:
        return self.directory / SEEN

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file at once."""
        try:
            places.make_private(self.directory)
            # mkstemp makes the file with mode 0600; the rename keeps it.
            handle, temporary = tempfile.mkstemp(dir=self.directory)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(self.directory / name)
            except OSError:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> UsageError:
        reason = error.strerror if isinstance(error, OSError) else error
        return UsageError(
            f"cannot write to {self.directory}: {reason}",
            advice="what was seen of releases has to be remembered: make room there",
        )


def memory_for(trust: Trust, cache: Path) -> ReleaseMemory:
    """Return the memory for a list, which is the same whoever else is trusted with it later."""
    key = hashlib.sha256(trust.origin.encode()).hexdigest()[:32]
    return ReleaseMemory(cache / "releases" / key)


def follows(served: Unverified, size: int, root: bytes) -> bool:
    """Whether a list is as long as one of `size` entries with that root, and begins with it."""
    return len(served.entries) >= size and served.root(size) == root


def contradiction(kept: Sequence[Path]) -> EvidenceRefused:
    """Return the error for two lists that cannot both be true."""
    return EvidenceRefused(
        "a list of releases has another past than the one that was seen before",
        advice="somebody with the log's key shows different people different lists; both are kept "
        f"as proof: {', '.join(map(str, kept))}. Show them to others, then either pin by hand "
        "(--pcrs) or decide: oblivious-client releases fetch --forget",
        code=Exit.RELEASES_CONFLICT,
    )

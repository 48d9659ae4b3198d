"""The keys of a serving issuer: which one a request means, and which ones the world is told of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import blind_rsa
from protocol.issuer_directory import DirectoryKey, IssuerDirectory
from protocol.token_catalogue import SKEW_SECONDS, CatalogueKey
from token_issuer.key_files import KeyFileError, read_keys, read_private, read_receipt_key
from token_issuer.signing import PrivateOperation

REQUEST_PATH = "/token-request"

DIRECTORY_SECONDS = 3600
"""For which a directory may be kept, if the next change of keys is not nearer."""

PROBE = 0x1234567890ABCDEF
"""What each key signs at the start, to see that its halves belong together."""


@dataclass(frozen=True, slots=True, eq=False)
class IssuingKey:
    """A key that can sign."""

    entry: CatalogueKey
    private_operation: blind_rsa.PrivateOperation = field(repr=False)

    def issues(self, now: float) -> bool:
        """Tell whether this key signs what is newly bought, by clocks that are a little off."""
        epoch = self.entry.epoch
        return epoch.issue_from - SKEW_SECONDS <= now < epoch.issue_until + SKEW_SECONDS


@dataclass(frozen=True, slots=True)
class KeyRing:
    """The keys that have not been destroyed, and the one that signs receipts."""

    keys: Sequence[IssuingKey]
    receipt_key: Ed25519PrivateKey = field(repr=False)

    def find(self, truncated_id: int) -> IssuingKey | None:
        """Return the key whose identifier ends in this octet."""
        named = (each for each in self.keys if each.entry.key.truncated_id == truncated_id)
        return next(named, None)

    def directory(self, now: float) -> IssuerDirectory:
        """Return what the world is told at `now`: by epoch, then by price."""
        listed = tuple(
            DirectoryKey(each.entry.key, each.entry.epoch.issue_from)
            for each in self.keys
            if now < each.entry.epoch.issue_until
        )
        public = self.receipt_key.public_key().public_bytes_raw()
        return IssuerDirectory(REQUEST_PATH, listed, public)

    def directory_seconds(self, now: float) -> int:
        """Return for how long that may be kept."""
        ends = (each.entry.epoch.issue_until for each in self.keys)
        return int(min([DIRECTORY_SECONDS, *(end - now for end in ends if end > now)]))


def load(directory: Path) -> KeyRing:
    """Return the ring of all keys in a directory that can sign; KeyFileError without any."""
    stored = [each for each in read_keys(directory) if not each.is_retired]
    if not stored:
        raise KeyFileError(f"{directory} has no key that signs: see `token-issuer keys new`.")

    keys = [IssuingKey(each.entry, PrivateOperation(read_private(each))) for each in stored]
    _probe(keys)
    return KeyRing(keys, read_receipt_key(directory))


def _probe(keys: Iterable[IssuingKey]) -> None:
    for each in keys:
        numbers = each.entry.key.public_key.public_numbers()
        if pow(each.private_operation(PROBE), numbers.e, numbers.n) != PROBE:
            raise KeyFileError(f"The key {each.entry.key.key_id.hex()} does not sign.")

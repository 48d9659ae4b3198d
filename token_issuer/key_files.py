"""Issuing keys on disk: for each a public half in JSON, and a private one until it is destroyed.

Both are named after the key's identifier. The public half stays when the private one goes, so that
no later key gets an identifier that ends alike while tokens of this one are about.
"""

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from protocol import base64url, strict_json
from protocol.errors import ProtocolError
from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_key import TokenKey
from protocol.token_prices import PricePoint

RECEIPT_KEY = "receipts.pem"

_MEMBERS = frozenset({"price", "token_key", "issue_from", "issue_until", "redeem_until"})


class KeyFileError(Exception):
    """A key on disk is missing, unreadable or not what it should be; one sentence says which."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key in a directory: all that is public of it."""

    entry: CatalogueKey
    directory: Path

    @property
    def private_path(self) -> Path:
        """Where the private half is, unless it has been destroyed."""
        return self.directory / f"{self.entry.key.key_id.hex()}.pem"

    @property
    def is_retired(self) -> bool:
        """Whether nobody can sign with this key any more."""
        return not self.private_path.exists()


def read_keys(directory: Path) -> list[StoredKey]:
    """Return all keys of a directory, in the order of their epochs and prices."""
    if not directory.is_dir():
        raise KeyFileError(f"{directory} is no directory: `token-issuer keys new` makes it.")
    found = [StoredKey(_read_public(path), directory) for path in directory.glob("*.json")]
    return sorted(found, key=lambda each: (each.entry.epoch, each.entry.price))


def read_private(stored: StoredKey) -> RSAPrivateKey:
    """Return the private half of a key."""
    key = _read_secret(stored.private_path)
    if not isinstance(key, RSAPrivateKey):
        raise KeyFileError(f"{stored.private_path} holds no RSA key.")
    if key.public_key().public_numbers().n != stored.entry.key.public_key.public_numbers().n:
        raise KeyFileError(f"{stored.private_path} is not the key that its name says.")
    return key


def write_key(directory: Path, entry: CatalogueKey, private: RSAPrivateKey) -> StoredKey:
    """Keep a new key: first the private half, so that what is listed can sign."""
    stored = StoredKey(entry, directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_once(stored.private_path, pem)
    public = {
        "price": str(entry.price),
        "token_key": base64url.encode(entry.key.spki).decode(),
        "issue_from": entry.epoch.issue_from,
        "issue_until": entry.epoch.issue_until,
        "redeem_until": entry.epoch.redeem_until,
    }
    _write_once(stored.private_path.with_suffix(".json"), json.dumps(public, indent=1).encode())
    return stored


def destroy_private(stored: StoredKey) -> None:
    """Overwrite and remove the private half of a key.

    Flash memory and snapshots may keep octets that were overwritten; whoever has to exclude that
    keeps the directory on a disk that is encrypted, and ends its key.
    """
    with stored.private_path.open("r+b") as file:
        file.write(os.urandom(os.fstat(file.fileno()).st_size))
        file.flush()
        os.fsync(file.fileno())
    stored.private_path.unlink()
    _sync(stored.directory)


def make_receipt_key(directory: Path) -> None:
    """Make the key that signs receipts, unless there is one."""
    path = directory / RECEIPT_KEY
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        _write_once(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def read_receipt_key(directory: Path) -> Ed25519PrivateKey:
    """Return the key that signs receipts."""
    key = _read_secret(directory / RECEIPT_KEY)
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{directory / RECEIPT_KEY} holds no Ed25519 key.")
    return key


def _read_public(path: Path) -> CatalogueKey:
    try:
        members = strict_json.decode_members(path.read_bytes(), _MEMBERS)
        epoch = Epoch(members["issue_from"], members["issue_until"], members["redeem_until"])
        key = TokenKey.decode(base64url.decode(strict_json.decode_ascii(members["token_key"])))
        entry = CatalogueKey(PricePoint.decode(members["price"]), epoch, key)
    except (OSError, ProtocolError, TypeError, ValueError) as error:
        raise KeyFileError(f"{path} is not the public half of a key: {error}.") from None
    if path.stem != key.key_id.hex():
        raise KeyFileError(f"{path} is not the key that its name says.")
    return entry


def _read_secret(path: Path) -> PrivateKeyTypes:
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from None
    if stat.S_IMODE(mode) & 0o077:
        raise KeyFileError(f"{path} can be read by others: chmod 600 it, if nobody has.")
    try:
        return load_pem_private_key(data, password=None)
    except ValueError:
        raise KeyFileError(f"{path} is no private key.") from None


def _write_once(path: Path, data: bytes) -> None:
    """Write a file that only its owner can read, and that was not there; it survives a crash."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

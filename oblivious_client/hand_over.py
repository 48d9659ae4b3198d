"""Tokens handed over in a file: out of one wallet, and into another.

A token that is in two wallets is spent by whoever is quicker, so that `export` takes them out: they
are held while the file is written and deleted when it is on the disk. Killed in between, the
program leaves them in both places, and none is lost. What is in the file is money: it is for its
owner alone, and is never written over another.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from oblivious_client.errors import NoToken, UsageError
from oblivious_client.purchases import Purchases, Source, read_source
from oblivious_client.wallet import Wallet
from protocol import base64url, strict_json
from protocol.errors import MalformedMessage, ProtocolError
from protocol.private_token import Token
from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_key import TokenKey
from protocol.token_prices import PricePoint

VERSION = 1

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Eight thousand tokens."""

_MEMBERS = frozenset({"version", "issuer", "origin", "keys"})
_TIMES = ("issue_from", "issue_until", "redeem_until")
_KEY_MEMBERS = frozenset({"price", "token_key", *_TIMES, "tokens"})


@dataclass(frozen=True, slots=True)
class Lot:
    """Tokens of one key."""

    source: Source
    tokens: tuple[Token, ...]


def export(
    wallet: Wallet, path: Path, price: PricePoint, count: int, origin: str | None = None
) -> int:
    """Move tokens into a new file; return how many. UsageError or NoToken, and nothing is moved."""
    holder = secrets.token_bytes(16)
    lots = _taken_out(wallet, holder, price, count, origin)
    try:
        _write(path, encode(lots))
    except BaseException:
        _change(wallet, _PUT_BACK, holder)
        raise
    _change(wallet, "DELETE FROM tokens WHERE holder = ?", holder)
    return sum(len(lot.tokens) for lot in lots)


def import_from(wallet: Wallet, path: Path) -> tuple[int, int]:
    """Have the tokens of a file; return how many are new, and how many were there already."""
    lots = decode(_read(path), str(path))
    new = sum(Purchases(wallet).add(lot.source, lot.tokens) for lot in lots)
    return new, sum(len(lot.tokens) for lot in lots) - new


def encode(lots: Sequence[Lot]) -> bytes:
    """Return what a file holds; its tokens are for one gateway."""
    first = lots[0].source
    members = {
        "version": VERSION,
        "issuer": first.issuer,
        "origin": first.origin,
        "keys": [_key_members(lot) for lot in lots],
    }
    return json.dumps(members, indent=1).encode()


def decode(data: bytes, name: str) -> list[Lot]:
    """Return the tokens in a file, each verified; raises UsageError."""
    try:
        members = strict_json.decode_members(data, _MEMBERS)
        keys = members["keys"]
        if members["version"] != VERSION or not isinstance(keys, list):
            raise MalformedMessage("another version")
        named = [_text(members[name]) for name in ("issuer", "origin")]
        return [_lot(key, named) for key in keys]
    except (ProtocolError, ValueError, TypeError) as error:
        raise UsageError(
            f"{name} holds no tokens that verify: {error}",
            advice="nothing was taken; ask for the file again",
        ) from error


def _taken_out(
    wallet: Wallet, holder: bytes, price: PricePoint, count: int, origin: str | None
) -> list[Lot]:
    """Hold tokens that nobody has seen, and that end first; return them by their key."""
    with wallet.file.writing() as database:
        rows = database.execute(_UNSEEN, (price.units, wallet.clock())).fetchall()
        origins = sorted({row[_ORIGIN] for row in rows})
        if origin is None and len(origins) > 1:
            raise UsageError(
                f"there are tokens for {' and '.join(origins)}", advice="name one: --origin NAME"
            )
        chosen = [row for row in rows if origin in (None, row[_ORIGIN])][:count]
        if len(chosen) < count:
            raise NoToken(
                f"there are {len(chosen)} tokens of {price} that nobody has seen, not {count}",
                advice=f"nothing was moved; `{wallet.command('list')}` shows what there is",
            )
        database.executemany(
            "UPDATE tokens SET state = 'held', holder = ?, since = ? WHERE id = ?",
            [(holder, wallet.clock(), row[0]) for row in chosen],
        )
    return [_of_rows(rows) for _, rows in groupby(chosen, lambda row: row[3:])]


def _of_rows(rows: Iterable[Sequence[Any]]) -> Lot:
    listed = list(rows)
    source = read_source(listed[0][3:])
    key_id = source.key.key.key_id
    digest = source.challenge_digest
    return Lot(source, tuple(Token(row[1], digest, key_id, row[2]) for row in listed))


def _change(wallet: Wallet, statement: str, holder: bytes) -> None:
    with wallet.file.writing() as database:
        database.execute(statement, (holder,))


def _write(path: Path, data: bytes) -> None:
    """Write a file that was not there, for its owner alone; it is on the disk at the end."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        _sync(path.parent)
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{path} is larger than any file of tokens")
    return data


def _key_members(lot: Lot) -> dict[str, object]:
    key = lot.source.key
    return {
        "price": str(key.price),
        "token_key": base64url.encode(key.key.spki).decode(),
        **{name: getattr(key.epoch, name) for name in _TIMES},
        "tokens": [base64url.encode(token.encode()).decode() for token in lot.tokens],
    }


def _lot(members: object, named: Sequence[str]) -> Lot:
    if not isinstance(members, dict) or members.keys() != _KEY_MEMBERS:
        raise MalformedMessage("a key that has not the members that it has to have")
    key = TokenKey.decode(_octets(members["token_key"]))
    epoch = Epoch(*(_time(members, name) for name in _TIMES))
    listed = CatalogueKey(PricePoint.decode(members["price"]), epoch, key)
    issuer, origin = named
    source = Source(issuer, origin, listed)
    if not isinstance(members["tokens"], list):
        raise MalformedMessage("a key without a list of tokens")
    tokens = tuple(Token.decode(_octets(each)) for each in members["tokens"])
    for token in tokens:
        token.verify(key, source.challenge_digest)
    return Lot(source, tokens)


def _time(members: Mapping[str, object], name: str) -> int:
    value = members[name]
    if type(value) is not int:
        raise MalformedMessage("a time that is no number of Unix seconds")
    return value


def _octets(value: object) -> bytes:
    return base64url.decode(strict_json.decode_ascii(value))


def _text(value: object) -> str:
    return strict_json.decode_ascii(value).decode()


_ORIGIN = 4

_PUT_BACK = "UPDATE tokens SET state = 'ready', holder = NULL, since = NULL WHERE holder = ?"

_UNSEEN = """
SELECT tokens.id, nonce, authenticator,
    issuer, origin, price, spki, issue_from, issue_until, redeem_until
FROM tokens JOIN keys ON keys.id = tokens.key
WHERE state = 'ready' AND NOT seen AND price = ? AND redeem_until > ?
ORDER BY redeem_until, keys.id, RANDOM()"""

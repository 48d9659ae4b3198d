"""Keys on disk: what is kept, who may read it, and what is refused."""

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.disk import FOLDER, synced
from tests.support.issuing import made_keys
from token_issuer.key_files import (
    RECEIPT_KEY,
    KeyFileError,
    destroy_private,
    make_receipt_key,
    read_keys,
    read_private,
    read_receipt_key,
    write_key,
)

ENTRY, PRIVATE = made_keys()[0]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_keys_are_kept_for_their_owner_alone_and_read_in_order(tmp_path: Path) -> None:
    directory = tmp_path / "keys"
    for entry, private in reversed(made_keys()):
        write_key(directory, entry, private)
    stored = read_keys(directory)
    assert [each.entry for each in stored] == [entry for entry, _ in made_keys()]
    assert mode(directory) == 0o700
    assert {mode(path) for path in directory.iterdir()} == {0o600}
    for each, (_, private) in zip(stored, made_keys(), strict=True):
        assert read_private(each).private_numbers() == private.private_numbers()
        assert not each.is_retired


def test_writing_a_key_leaves_nothing_open(tmp_path: Path) -> None:
    before = set(Path("/proc/self/fd").iterdir())
    write_key(tmp_path, ENTRY, PRIVATE)
    make_receipt_key(tmp_path)
    assert set(Path("/proc/self/fd").iterdir()) == before


def test_keys_are_on_the_disk_when_they_are_made_and_gone_from_it_when_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = synced(monkeypatch)
    stored = write_key(tmp_path, ENTRY, PRIVATE)
    halves = (stored.private_path, stored.private_path.with_suffix(".json"))
    private, public = (half.stat().st_size for half in halves)
    assert sizes == [private, FOLDER, public, FOLDER]
    sizes.clear()
    overwritten: list[bytes] = []
    held = stored.private_path.open("rb")
    sync = os.fsync

    def read(descriptor: int) -> None:
        held.seek(0)
        overwritten.append(held.read())
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", read)
    before = stored.private_path.read_bytes()
    with held:
        destroy_private(stored)
    assert sizes == [private, FOLDER]
    assert before not in overwritten  # not even when the first was synced


def test_the_public_half_is_one_that_people_can_read(tmp_path: Path) -> None:
    path = write_key(tmp_path, ENTRY, PRIVATE).private_path.with_suffix(".json")
    assert path.read_text().startswith('{\n "price": "')


def test_a_folder_of_keys_may_be_deep_and_may_be_there(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "b"
    for entry, private in made_keys()[:2]:
        write_key(directory, entry, private)
    assert len(read_keys(directory)) == 2


def test_a_key_is_not_written_over(tmp_path: Path) -> None:
    write_key(tmp_path, ENTRY, PRIVATE)
    with pytest.raises(FileExistsError):
        write_key(tmp_path, ENTRY, PRIVATE)


def test_a_destroyed_key_is_listed_and_signs_no_more(tmp_path: Path) -> None:
    stored = write_key(tmp_path, ENTRY, PRIVATE)
    before = stored.private_path.read_bytes()
    held = stored.private_path.open("rb")  # what is overwritten, is so for who has it open
    destroy_private(stored)
    with held:
        after = held.read()
    assert len(after) == len(before)
    assert b"PRIVATE" not in after
    (found,) = read_keys(tmp_path)
    assert found.is_retired
    assert found.entry == ENTRY
    with pytest.raises(KeyFileError, match="cannot be read"):
        read_private(found)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    stored = write_key(tmp_path, ENTRY, PRIVATE)
    stored.private_path.chmod(0o640)
    with pytest.raises(KeyFileError, match="read by others"):
        read_private(stored)


def test_private_halves_that_are_not_the_key(tmp_path: Path) -> None:
    stored = write_key(tmp_path, ENTRY, PRIVATE)
    other = made_keys()[1][1]
    curve = ec.generate_private_key(ec.SECP256R1())
    for key, reason in ((other, "not the key"), (curve, "no RSA key")):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        stored.private_path.write_bytes(pem)
        with pytest.raises(KeyFileError, match=reason):
            read_private(stored)
    for data in (b"", b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"):
        stored.private_path.write_bytes(data)
        with pytest.raises(KeyFileError, match="no private key"):
            read_private(stored)


@pytest.mark.parametrize(
    "changes",
    [
        {"price": "c0"},
        {"price": None},
        {"token_key": "AAAA"},
        {"token_key": 1},
        {"issue_from": "now"},
        {"issue_from": 1 << 60},
        {"more": 1},
    ],
)
def test_public_halves_that_are_none(tmp_path: Path, changes: dict[str, object]) -> None:
    path = write_key(tmp_path, ENTRY, PRIVATE).private_path.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(KeyFileError, match="public half"):
        read_keys(tmp_path)


def test_a_public_half_of_another_name(tmp_path: Path) -> None:
    path = write_key(tmp_path, ENTRY, PRIVATE).private_path.with_suffix(".json")
    path.rename(tmp_path / f"{'0' * 64}.json")
    with pytest.raises(KeyFileError, match="its name"):
        read_keys(tmp_path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="keys new"):
        read_keys(tmp_path / "keys")


def test_the_receipt_key_is_made_once(tmp_path: Path) -> None:
    make_receipt_key(tmp_path)
    first = read_receipt_key(tmp_path).private_bytes_raw()
    make_receipt_key(tmp_path)
    assert read_receipt_key(tmp_path).private_bytes_raw() == first
    assert mode(tmp_path / RECEIPT_KEY) == 0o600
    pem = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / RECEIPT_KEY).write_bytes(pem)
    with pytest.raises(KeyFileError, match="no Ed25519 key"):
        read_receipt_key(tmp_path)

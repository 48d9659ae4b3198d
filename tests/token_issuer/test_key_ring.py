"""The ring of keys: which one a request means, and what is told of them."""

from pathlib import Path

import pytest

from protocol.token_catalogue import SKEW_SECONDS
from tests.support.issuing import key_ring, made_keys
from tests.support.private_tokens import epoch
from token_issuer.key_files import KeyFileError, destroy_private, make_receipt_key, write_key
from token_issuer.key_ring import IssuingKey, load
from token_issuer.signing import PrivateOperation


def keep(directory: Path) -> None:
    for entry, private in made_keys():
        write_key(directory, entry, private)
    make_receipt_key(directory)


def test_what_was_kept_signs(tmp_path: Path) -> None:
    keep(tmp_path)
    ring = load(tmp_path)
    assert [each.entry for each in ring.keys] == [entry for entry, _ in made_keys()]
    for each, (_, private) in zip(ring.keys, made_keys(), strict=True):
        numbers = private.private_numbers()
        assert each.private_operation(2) == pow(2, numbers.d, numbers.public_numbers.n)


def test_a_destroyed_key_is_not_in_the_ring(tmp_path: Path) -> None:
    keep(tmp_path)
    entry, private = made_keys()[0]
    (tmp_path / "copy").mkdir()
    stored = write_key(tmp_path / "copy", entry, private)
    destroy_private(type(stored)(entry, tmp_path))
    ring = load(tmp_path)
    assert ring.find(entry.key.truncated_id) is None
    assert len(ring.keys) == len(made_keys()) - 1


def test_a_key_is_found_by_the_last_octet_of_its_identifier() -> None:
    ring = key_ring()
    for each in ring.keys:
        assert ring.find(each.entry.key.key_id[-1]) is each
    taken = {each.entry.key.truncated_id for each in ring.keys}
    assert ring.find(next(octet for octet in range(256) if octet not in taken)) is None


def test_a_key_signs_what_is_new_within_its_time_and_a_little_around() -> None:
    key = key_ring().keys[0]
    begin, end = epoch(0).issue_from - SKEW_SECONDS, epoch(0).issue_until + SKEW_SECONDS
    assert [key.issues(now) for now in (begin - 1, begin, end - 1, end)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_directory_without_keys(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no key that signs"):
        load(tmp_path)
    entry, private = made_keys()[0]
    write_key(tmp_path, entry, private)
    with pytest.raises(KeyFileError, match="cannot be read"):
        load(tmp_path)  # nothing signs receipts


def test_a_key_that_signs_nonsense_is_found_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path)
    monkeypatch.setattr(PrivateOperation, "__call__", lambda _, number: number)
    with pytest.raises(KeyFileError, match="does not sign"):
        load(tmp_path)


def test_keys_print_nothing_that_is_secret() -> None:
    assert "PrivateOperation" not in repr(key_ring())
    assert isinstance(key_ring().keys[0], IssuingKey)

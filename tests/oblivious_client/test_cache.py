"""The cache: what is stored comes back, per address and policy, and a bad file is none."""

import json
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from oblivious_client.cache import Entry, EvidenceCache
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.policy import Policy, Simulated

RELAY = Endpoint.parse(Role.RELAY, "https://relay.example/")
POLICY = Policy(pcrs={0: b"\1" * 48})
ENTRY = Entry(b'{"document":""}', 1_700_000_000.5)


@pytest.fixture
def cache(tmp_path: Path) -> EvidenceCache:
    return EvidenceCache(tmp_path / "one" / "two")


def test_what_is_stored_comes_back(cache: EvidenceCache) -> None:
    assert cache.load(RELAY, POLICY) is None
    cache.store(RELAY, POLICY, ENTRY)
    assert cache.load(RELAY, POLICY) == ENTRY
    newer = replace(ENTRY, expires=ENTRY.expires + 1)
    cache.store(RELAY, POLICY, newer)
    assert cache.load(RELAY, POLICY) == newer
    (file,) = cache.directory.iterdir()  # no draft is left beside it
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("endpoint", "policy"),
    [
        (Endpoint.parse(Role.RELAY, "https://relay.example/other"), POLICY),
        (Endpoint.parse(Role.GATEWAY, "https://relay.example/"), POLICY),
        (Endpoint.parse(Role.RELAY, "unix:/relay"), POLICY),
        (RELAY, Policy(pcrs={0: b"\2" * 48})),
        (RELAY, replace(POLICY, max_age=POLICY.max_age + 1)),
        (RELAY, replace(POLICY, simulated=Simulated.ALLOWED)),
        (RELAY, replace(POLICY, also=({0: b"\2" * 48},))),
    ],
)
def test_another_address_or_policy_is_lent_nothing(
    cache: EvidenceCache, endpoint: Endpoint, policy: Policy
) -> None:
    cache.store(RELAY, POLICY, ENTRY)
    assert cache.load(endpoint, policy) is None
    cache.forget(endpoint, policy)
    assert cache.load(RELAY, POLICY) == ENTRY


def test_what_is_forgotten_is_gone(cache: EvidenceCache) -> None:
    cache.forget(RELAY, POLICY)  # where nothing is, nothing is amiss
    cache.store(RELAY, POLICY, ENTRY)
    cache.forget(RELAY, POLICY)
    assert cache.load(RELAY, POLICY) is None
    assert list(cache.directory.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"evidence": "e"}',
        b'{"evidence": 1, "expires": 2}',
        b'{"evidence": "e", "expires": "soon"}',
        b'{"evidence": "e", "expires": null}',
        b'{"evidence": "e", "expires": NaN}',
        b'{"evidence": "e", "expires": Infinity}',
        b'{"evidence": "e", "expires": 1e999}',
        b'{"evidence": "e", "expires": 1%b}' % (b"0" * 400),
        b'{"evidence": "\\ud800", "expires": 2}',
        b"[" * 200_000,
    ],
)
def test_a_damaged_file_is_as_good_as_none(cache: EvidenceCache, content: bytes) -> None:
    cache.store(RELAY, POLICY, ENTRY)
    (file,) = cache.directory.iterdir()
    file.write_bytes(content)
    assert cache.load(RELAY, POLICY) is None


def test_a_directory_in_the_way_leaves_no_draft(cache: EvidenceCache) -> None:
    cache.store(RELAY, POLICY, ENTRY)
    (file,) = cache.directory.iterdir()
    file.unlink()
    file.mkdir()
    cache.store(RELAY, POLICY, ENTRY)
    cache.forget(RELAY, POLICY)  # cannot be, and is no error
    assert list(cache.directory.iterdir()) == [file]


def test_a_file_holds_nothing_of_the_address(cache: EvidenceCache) -> None:
    cache.store(RELAY, POLICY, ENTRY)
    (file,) = cache.directory.iterdir()
    assert "relay.example" not in file.name + file.read_text()
    assert json.loads(file.read_bytes()).keys() == {"evidence", "expires"}


def test_a_folder_that_goes_away_meanwhile_is_no_error(
    cache: EvidenceCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Path, target: Path) -> Path:
        shutil.rmtree(target.parent)
        raise FileNotFoundError(target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", gone)
        cache.store(RELAY, POLICY, ENTRY)
    assert cache.load(RELAY, POLICY) is None
    cache.forget(RELAY, POLICY)  # of which there is nothing

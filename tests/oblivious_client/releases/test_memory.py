"""The longest list that was seen: kept whole, never forgotten by itself."""

import dataclasses
import errno
import json
import shutil
import stat
from pathlib import Path

import pytest

from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.releases.memory import ReleaseMemory, follows, memory_for
from oblivious_client.releases.published import verify
from tests.support.disk import synced
from tests.support.releases import ALONE, NOW, TRUST, log_of, release

FOUR = log_of(*(release(number) for number in range(1, 5)))
PUBLISHED = verify(FOUR.notes(), TRUST)


@pytest.fixture
def memory(tmp_path: Path) -> ReleaseMemory:
    return memory_for(TRUST, tmp_path)


def test_nothing_is_remembered_at_first(memory: ReleaseMemory) -> None:
    assert memory.load() is None
    memory.require_no_conflict()


def test_what_is_stored_is_loaded(memory: ReleaseMemory) -> None:
    memory.store(PUBLISHED, NOW)
    seen = memory.load()
    assert seen is not None
    assert (seen.notes, seen.size, seen.fetched) == (PUBLISHED.notes, 4, NOW)
    assert seen.root == PUBLISHED.checkpoint.root
    (path,) = memory.directory.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(memory.directory.stat().st_mode) == 0o700


def test_what_is_stored_is_on_the_disk_before_it_takes_the_place_of_another(
    memory: ReleaseMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = synced(monkeypatch)
    memory.store(PUBLISHED, NOW)
    (path,) = memory.directory.iterdir()
    assert sizes == [path.stat().st_size]


def test_another_list_is_another_memory(memory: ReleaseMemory, tmp_path: Path) -> None:
    memory.store(PUBLISHED, NOW)
    assert memory_for(ALONE, tmp_path).load() == memory.load()  # whoever is trusted with it
    other = dataclasses.replace(TRUST, origin="other.example")
    assert memory_for(other, tmp_path).load() is None


def test_nothing_is_forgotten_where_nothing_was_seen(memory: ReleaseMemory) -> None:
    memory.forget(NOW)
    assert memory.load() is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[]", b'{"list":1}', b"[" * 2000])
def test_a_damaged_memory_is_not_as_good_as_none(memory: ReleaseMemory, content: bytes) -> None:
    memory.store(PUBLISHED, NOW)
    (path,) = memory.directory.iterdir()
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged") as refused:
        memory.load()
    assert "--forget" in refused.value.advice
    memory.forget(NOW)
    assert memory.load() is None


def test_a_root_that_is_not_written_as_it_was_is_damaged(memory: ReleaseMemory) -> None:
    memory.store(PUBLISHED, NOW)
    (path,) = memory.directory.iterdir()
    members = json.loads(path.read_bytes())
    path.write_text(json.dumps({**members, "root": "!" + members["root"]}))
    with pytest.raises(UsageError, match="damaged"):
        memory.load()


def test_why_it_could_not_be_written_is_said_even_where_the_folder_went_away(
    memory: ReleaseMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> Path:
        shutil.rmtree(target.parent)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UsageError, match="No space left"):
        memory.store(PUBLISHED, NOW)


def test_a_file_cut_short_is_damaged(memory: ReleaseMemory) -> None:
    memory.store(PUBLISHED, NOW)
    (path,) = memory.directory.iterdir()
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError):
            memory.load()


def test_a_memory_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    memory = ReleaseMemory(tmp_path / "file" / "below")
    with pytest.raises(UsageError, match="cannot write"):
        memory.store(PUBLISHED, NOW)
    (tmp_path / "seen.json").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        ReleaseMemory(tmp_path).load()
    with pytest.raises(UsageError, match="cannot write"):
        ReleaseMemory(tmp_path).store(PUBLISHED, NOW)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"]


def test_a_conflict_stops_everything_until_a_person_decides(memory: ReleaseMemory) -> None:
    memory.store(PUBLISHED, NOW)
    other = log_of(*(release(number, version="2") for number in range(1, 5))).notes()
    kept = memory.keep_conflict(PUBLISHED.notes, other)
    assert [path.name for path in kept] == ["conflict-seen.json", "conflict-served.json"]
    assert [path.read_bytes() for path in kept] == [PUBLISHED.notes.encode(), other.encode()]
    with pytest.raises(EvidenceRefused) as refused:
        memory.require_no_conflict()
    assert refused.value.code is Exit.RELEASES_CONFLICT
    assert all(str(path) in refused.value.advice for path in kept)
    memory.forget(NOW)
    memory.require_no_conflict()
    assert memory.load() is None
    assert sorted(path.name for path in memory.directory.iterdir()) == [
        f"settled-{NOW}-conflict-seen.json",
        f"settled-{NOW}-conflict-served.json",
    ]


def test_what_follows_what() -> None:
    two, four = FOUR.fork(2).notes(), FOUR.notes()
    assert follows(four, 2, two.root())
    assert follows(four, 4, four.root())
    assert not follows(two, 4, four.root())
    assert not follows(four, 2, four.root())
    fork = dataclasses.replace(four, entries=(four.entries[1], *four.entries[1:]))
    assert not follows(fork, 2, two.root())

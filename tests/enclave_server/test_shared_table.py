"""The table that workers share; `test_replay.py` and `test_memory_store.py` say what it is for."""

import contextlib
import mmap
import os

import pytest

from enclave_server.shared_table import BUCKET_SIZE, SLOTS, Place, SharedTable, ceiling

NOW = 1_800_000_000.0


def test_an_entry_is_found_until_its_time_and_can_be_changed() -> None:
    with contextlib.closing(SharedTable("a", 100)) as table:
        place = table.place(b"a")
        with table:
            assert table.find(place, NOW) is None
            assert table.add(place, NOW + 5.5, NOW)
            slot = table.find(place, NOW)
            assert slot is not None
            assert table.until(slot) == NOW + 6
            assert table.find(place, NOW + 6) == slot
            assert table.find(place, NOW + 6.1) is None
            table.put(slot, NOW + 9)
            assert table.find(place, NOW + 6.1) == slot
            table.put(slot, 0)
            assert table.find(place, NOW) is None
            assert table.find(table.place(b"b"), NOW) is None


def test_what_is_given_back_is_no_memory_of_the_process_any_more() -> None:
    table = SharedTable("a", 100)
    descriptor = table._fd
    table.close()
    with pytest.raises(ValueError, match="closed"):
        table.advance(NOW)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_slot_that_is_free_is_used_again() -> None:
    with contextlib.closing(SharedTable("a", 1)) as table, table:
        places = [table.place(b"%d" % number) for number in range(200)]
        added = [place for place in places if table.add(place, NOW + 5, NOW)]
        assert SLOTS <= len(added) <= 2 * SLOTS
        slot = table.find(added[0], NOW)
        assert slot is not None
        table.put(slot, 0)
        another = next(
            place for place in places if place not in added and added[0].first in place[1:]
        )
        assert table.add(another, NOW + 5, NOW)


def test_an_entry_is_known_by_its_slot_as_long_as_it_is_there() -> None:
    with contextlib.closing(SharedTable("a", 1)) as table, table:
        places = [table.place(b"%d" % number) for number in range(SLOTS)]
        slots = [table.add(place, NOW + 5, NOW) for place in places]
        until = ceiling(NOW + 5)
        for place, slot in zip(places, slots, strict=True):
            assert slot is not None
            assert table.find(place, NOW) == slot
            assert [table.has(each.tag, slot, until) for each in places].count(True) == 1
            assert table.has(place.tag, slot, until)
            assert not table.has(place.tag, slot, until + 1)


def test_keys_are_spread_by_a_secret() -> None:
    with (
        contextlib.closing(SharedTable("a", 1000, random=bytes)) as first,
        contextlib.closing(SharedTable("b", 1000)) as second,
    ):
        places = [first.place(b"%d" % number) for number in range(300)]
        assert len({place.first for place in places}) > 50
        assert places != [second.place(b"%d" % number) for number in range(300)]
        assert all((place.first - BUCKET_SIZE) % BUCKET_SIZE == 0 for place in places)


def test_its_time_never_goes_back() -> None:
    with contextlib.closing(SharedTable("a", 1)) as table, table:
        assert [table.advance(now) for now in (5.0, 3.0, 7.5, 7.0)] == [5.0, 5.0, 7.5, 7.5]


@pytest.mark.parametrize(
    ("until", "kept"), [(0, 0), (0.1, 1), (NOW, NOW), (2.0**32, 2**32 - 1), (1e300, 2**32 - 1)]
)
def test_times_are_kept_in_whole_seconds(until: float, kept: float) -> None:
    assert ceiling(until) == kept


def test_the_lock_is_held_between_processes() -> None:
    with contextlib.closing(SharedTable("a", 100)) as table:
        place = table.place(b"a")
        read, write = os.pipe()
        with table:
            pid = os.fork()
            if pid == 0:
                try:
                    with table:  # waits
                        os.write(write, b"1" if table.find(place, NOW) is not None else b"0")
                finally:
                    os._exit(0)
            table.add(place, NOW + 5, NOW)
        os.waitpid(pid, 0)
        assert os.read(read, 1) == b"1"
        os.close(read)
        os.close(write)


@pytest.mark.parametrize("same", [1, 5, 11])
def test_a_tag_is_found_behind_one_that_ends_as_it_begins(same: int) -> None:
    """Two neighbours hold its octets once before it begins itself, at no place of an entry."""
    with contextlib.closing(SharedTable("a", 1)) as table, table:
        bucket = table.place(b"a").first
        tag = b"x" * 12
        neighbour = bytes(12 - same) + b"x" * same
        for each in (neighbour, tag):
            assert table.add(Place(each, bucket, bucket), NOW + 5, NOW)
        slot = table.find(Place(tag, bucket, bucket), NOW)
        assert slot is not None
        table.put(slot, 0)
        assert table.find(Place(tag, bucket, bucket), NOW) is None


def test_an_entry_keeps_its_slot_until_its_time_is_over() -> None:
    """Else what came before could come again in its last second."""
    with contextlib.closing(SharedTable("a", 1)) as table, table:
        places = [table.place(b"%d" % number) for number in range(200)]
        added = [place for place in places if table.add(place, NOW + 5, NOW)]
        others = [place for place in places if place not in added]
        assert not any(table.add(place, NOW + 9, NOW + 5) for place in others)
        assert all(table.find(place, NOW + 5) is not None for place in added)
        assert table.add(others[0], NOW + 9, NOW + 5.5)


def test_an_entry_takes_thirty_two_octets_and_a_bucket_crosses_no_page() -> None:
    assert (SLOTS, BUCKET_SIZE) == (32, 512)
    assert mmap.PAGESIZE % BUCKET_SIZE == 0
    with contextlib.closing(SharedTable("a", 1 << 20)) as table:
        assert table.size == BUCKET_SIZE + 32 * (1 << 20)


def test_no_time_is_later_than_four_octets_say() -> None:
    latest = 2**32 - 1
    times = (5.0, 5.1, latest - 0.5, 1e30)
    assert [ceiling(until) for until in times] == [5, 6, latest, latest]

"""Harnesses are found by their files, and loaded when they are wanted."""

from scripts.fuzzing.harnesses import FOLDER, MAX_BYTES, Harness, load, names


def test_each_file_is_one() -> None:
    assert {f"fuzz_{name}.py" for name in names()} == {path.name for path in FOLDER.glob("fuzz_*")}
    assert {"varint", "cbor", "request_head"} <= set(names())


def test_one_is_loaded_with_its_limits() -> None:
    varint, evidence = load("varint"), load("evidence")
    assert (varint.name, varint.max_bytes) == ("varint", MAX_BYTES)
    assert evidence.max_bytes > MAX_BYTES
    assert varint.faults
    varint.run(b"\x25")


def test_it_begins_with_each_seed_once_and_with_none_that_is_too_long() -> None:
    harness = Harness("any", lambda data: None, lambda: [b"b", b"aaa", b"b", b"", b"aa"], 2)
    assert harness.beginnings() == [b"", b"aa", b"b"]

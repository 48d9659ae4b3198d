"""One grammar for both ends: standard cases, recordings, and any input in any split."""

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.event_stream import (
    MAX_EVENT_OCTETS,
    Event,
    EventParser,
    EventTooLarge,
    encode_event,
)
from tests.support.vector_files import load

VECTORS = load("llm-sse-streams.json")


def parse(*pieces: bytes) -> list[Event]:
    parser = EventParser()
    return [event for piece in pieces for event in parser.feed(piece)]


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def random_pieces(data: bytes, rng: random.Random) -> list[bytes]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(40)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def expected(case: dict[str, Any]) -> list[Event]:
    # The standard dispatches nothing without data; the case records what one SDK does instead.
    return [
        Event(event["data"], event.get("event", "message"), event.get("id", ""))
        for event in case["events"]
        if event["data"]
    ]


@pytest.mark.parametrize("case", VECTORS["framing_cases"], ids=lambda case: case["id"])
def test_framing_case_whole_and_byte_by_byte(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert parse(data) == parse(*bytewise(data)) == expected(case)


@pytest.mark.parametrize("sample", VECTORS["samples"], ids=lambda sample: sample["id"])
def test_recorded_stream_in_any_split(sample: dict[str, Any]) -> None:
    data = sample["sse_text"].encode()
    whole = parse(data)
    # Two recordings end without the blank line that dispatches their last event.
    assert sample["summary"]["events"] - len(whole) == (not sample["ends_with_blank_line"])
    assert parse(*bytewise(data)) == whole
    rng = random.Random(sample["id"])
    for _ in range(20):
        assert parse(*random_pieces(data, rng)) == whole


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_line_ends_do_not_matter(end: str) -> None:
    text = ": note\nevent: a\ndata: x\ndata:y\n\nretry: 5\ndata\n\nid: 7\ndata:  z\n\n"
    data = text.replace("\n", end).encode()
    events = [Event("x\ny", "a"), Event(""), Event(" z", last_event_id="7")]
    assert parse(data) == parse(*bytewise(data)) == events


def test_byte_order_mark_is_skipped_once_and_only_at_the_start() -> None:
    bom = b"\xef\xbb\xbf"
    assert parse(*bytewise(bom + b"data: x\n\n")) == [Event("x")]
    assert parse(bom + bom + b"data: x\n\n") == []
    assert parse(b"data: x\n\n" + bom + b"data: y\n\n") == [Event("x")]


def test_type_is_forgotten_with_an_event_that_is_not_dispatched() -> None:
    assert parse(b"event: ping\n\ndata: x\n\n") == [Event("x")]


def test_identifier_with_nul_is_ignored() -> None:
    assert parse(b"id: a\nid: b\0\ndata: x\n\n") == [Event("x", last_event_id="a")]


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    assert parse(b"data: \xff\n\n") == [Event("�")]


def test_return_and_line_feed_in_two_pieces_are_one_line_end() -> None:
    assert parse(b"data: x\r", b"\ndata: y\r", b"", b"\n\r", b"\n") == [Event("x\ny")]


CASES = [
    (b"data: a\n\n", ["a"]),
    (b"data:a\r\n\r\ndata: b\r\r", ["a", "b"]),
    (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
    (b"\n\xef\xbb\xbfdata: a\n\n", []),
    (b": padding\n\n:\n\ndata: a\n\n", ["a"]),
    (b"data: a\ndata: b\n\n", ["a\nb"]),
    (b"event: x\nid: 1\nretry: 5\ndata: a\n\n", ["a"]),
    # The standard's own example: a line of data, be it empty, makes an event.
    (b"data\n\ndata\ndata\n\ndata:", ["", "\n"]),
    (b"data:  two\n\n", [" two"]),
    (b"data: unfinished\n", []),
    ("data: zwölf\n\n".encode(), ["zwölf"]),
]


@pytest.mark.parametrize(("data", "expected"), CASES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_events(data: bytes, expected: list[str], size: int) -> None:
    pieces = (data[start : start + size] for start in range(0, len(data), size))
    assert [event.data for event in parse(*pieces)] == expected


@pytest.mark.parametrize("piece", [b"x" * 65536, b"data: " + b"x" * 1024 + b"\n"])
def test_event_without_end_is_refused(piece: bytes) -> None:
    pieces = [piece] * (MAX_EVENT_OCTETS // (len(piece) - 1) + 1)
    with pytest.raises(EventTooLarge):
        parse(*pieces)


def test_comments_without_end_are_no_event() -> None:
    parser = EventParser(limit=10)
    assert [parser.feed(b": padding\n") for _ in range(5)] == [[]] * 5
    assert parser.feed(b"data: four\n\n") == [Event("four")]


@given(st.lists(st.binary(max_size=30)))
def test_any_bytes_in_any_split_parse_alike(pieces: list[bytes]) -> None:
    assert parse(*pieces) == parse(b"".join(pieces))


@given(st.text(alphabet="a:\r\n é\0").map(str.encode), st.integers(0, 100))
def test_any_cut_of_dense_text_parses_alike(data: bytes, cut: int) -> None:
    cut = min(cut, len(data))
    assert parse(data[:cut], data[cut:]) == parse(data)


def parsed_within(limit: int, pieces: list[bytes]) -> list[Event] | None:
    """Return the events, or None if one of them, or a line, is too large."""
    parser = EventParser(limit)
    try:
        return [event for piece in pieces for event in parser.feed(piece)]
    except EventTooLarge:
        return None


LINES = st.sampled_from(
    [b"data", b"data:", b"data: ab", b"id: 1", b"event: e", b":", b"x" * 9, b"", b"\xef\xbb\xbf"]
)
TEXTS = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n", b""])), max_size=12).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_line_of_the_limit_is_read_however_it_comes(mark: bytes) -> None:
    parser = EventParser(limit=10)
    assert parser.feed(mark + b"data: 1234") == []
    assert parser.feed(b"\n") == []
    assert parser.feed(b"\n") == [Event("1234")]
    assert parser.feed(b"data: 5678") == []
    with pytest.raises(EventTooLarge):
        parser.feed(b"9")


@given(TEXTS, st.lists(st.integers(0, 120), max_size=6).map(sorted), st.integers(1, 30))
def test_what_is_too_large_is_so_in_any_split(data: bytes, cuts: list[int], limit: int) -> None:
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert parsed_within(limit, pieces) == parsed_within(limit, [data])


@given(st.binary(max_size=40) | st.text(alphabet="a\r\n:").map(str.encode))
def test_what_is_encoded_reads_back(data: bytes) -> None:
    lines = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").decode("utf-8", "replace")
    assert parse(encode_event(data)) == [Event(lines)]


def test_it_knows_how_much_it_keeps() -> None:
    parser = EventParser()
    assert parser.kept == 0
    parser.feed(b"data: four\ndata: one")
    assert parser.kept == len(b"four\n") + len(b"data: one")
    parser.feed(b"\n\n")
    assert parser.kept == 0

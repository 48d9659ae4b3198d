"""Shaped answers: one size for every piece, nothing lost, nothing garbled, few lengths."""

import json
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import shaping
from protocol.binary_http import (
    Fields,
    Informational,
    Response,
    ResponseDecoder,
    ResponseHead,
    decode_response,
)
from protocol.gateway import problem
from protocol.shaping import AnswerShaper, GeometricSeries, Mark

SERIES = GeometricSeries(first=4, ratio=1.5)
EVENTS: Fields = ((b"content-type", b"text/event-stream; charset=utf-8"),)
JSON: Fields = ((b"content-type", b"application/json"),)


def parse_events(stream: bytes) -> list[bytes]:
    """Return the data of each event, as the SSE standard says, over all of `stream`."""
    events: list[bytes] = []
    data: list[bytes] = []
    *lines, _ = re.split(rb"\r\n|\n|\r", stream)
    for line in lines:
        if not line:
            events += [b"\n".join(data)] if data else []
            data = []
        elif line.startswith(b"data"):
            data.append(line.partition(b":")[2].removeprefix(b" "))
    return events


def drain(shaper: AnswerShaper, limit: int = 100_000) -> list[bytes]:
    """Return the pieces up to the final one."""
    pieces = []
    for _ in range(limit):
        piece, mark = shaper.tick()
        pieces.append(piece)
        if mark is Mark.FINAL:
            return pieces
    raise AssertionError("no final piece")


def test_series() -> None:
    assert [SERIES.reach(ticks) for ticks in (0, 1, 4, 5, 6, 7, 9, 10, 15)] == (
        [4, 4, 4, 6, 6, 9, 9, 14, 21]
    )
    slow = GeometricSeries(first=1, ratio=1.01)
    assert [slow.reach(ticks) for ticks in range(1, 6)] == [1, 2, 3, 4, 5]
    for first, ratio in ((0, 2.0), (1, 1.0), (1, float("nan")), (1, 17.0)):
        with pytest.raises(ValueError, match="series"):
            GeometricSeries(first, ratio)


@given(st.integers(1, 50), st.floats(1.01, 16), st.integers(0, 100_000))
def test_series_grows_by_its_ratio(first: int, ratio: float, ticks: int) -> None:
    series = GeometricSeries(first, ratio)
    count = series.reach(ticks)
    assert count >= ticks
    assert series.reach(count) == count
    assert count <= max(first, ticks + 1, ticks * ratio + 1)


def test_fillers_of_every_size() -> None:
    for gap in range(1, 300):
        for filler, smallest in ((shaping._interim, 3), (shaping._comment, 4)):
            data = filler(gap)
            assert len(data) <= max(gap, smallest)
            if filler is shaping._comment:
                assert len(data) == max(gap, smallest)
                body = decode_response(b"\x03\x40\xc8\0" + data + b"\0").content
                assert parse_events(b"data: a\n\n" + body + b"data: b\n\n") == [b"a", b"b"]
            else:
                interim = decode_response(b"\x03" + data + b"\x40\xc8\0").informational
                assert [item.status for item in interim] == [102]


def test_waiting_looks_the_same_as_speaking() -> None:
    """Before the status come informational responses, each tick exactly filled."""
    shaper = AnswerShaper(256, SERIES)
    decoder = ResponseDecoder()
    for _ in range(10):
        piece, mark = shaper.tick()
        assert (len(piece), mark) == (256, Mark.CONTINUES)
        events = decoder.feed(piece)
        assert all(isinstance(event, Informational) and event.status == 102 for event in events)
    shaper.head(200, EVENTS)
    shaper.content(b"data: first\n\n")
    piece, _ = shaper.tick()
    assert len(piece) == 256
    head, *content = decoder.feed(piece)
    assert head == ResponseHead(200, EVENTS)
    assert parse_events(b"".join(item for item in content if isinstance(item, bytes))) == [b"first"]


def test_what_is_said_goes_out_with_the_next_tick() -> None:
    shaper = AnswerShaper(128, SERIES)
    decoder = ResponseDecoder()
    shaper.head(200, EVENTS)
    for number in range(20):
        shaper.content(b"data: %d\n\n" % number)
        pieces = [event for event in decoder.feed(shaper.tick()[0]) if isinstance(event, bytes)]
        assert parse_events(b"".join(pieces)) == [b"%d" % number]
        assert shaper.waiting == 0


def test_an_unfinished_event_waits_and_is_not_cut_by_padding() -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.head(200, EVENTS)
    shaper.content(b"data: one\n\ndata: tw")
    first = shaper.tick()[0] + shaper.tick()[0]
    assert b"data: one\n\n" in first
    assert b"tw" not in first
    shaper.content(b"o\n\n")
    shaper.end()
    content = decode_response(first + b"".join(drain(shaper))).content
    assert b"data: two\n\n" in content


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_an_event_goes_out_whatever_ends_its_lines(end: bytes) -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.head(200, EVENTS)
    shaper.content(b"data: one" + end)
    assert b"data: one" in shaper.tick()[0]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_one_line_end_is_not_the_end_of_an_event(end: bytes) -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.head(200, EVENTS)
    shaper.content(b"data: one" + end)
    assert b"data: one" not in shaper.tick()[0]


def test_an_unfinished_event_at_the_end_is_sent() -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.head(200, EVENTS)
    shaper.content(b"data: cut")
    shaper.end()
    assert decode_response(b"".join(drain(shaper))).content == b"data: cut"


def test_an_endless_event_is_misuse() -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.head(200, EVENTS)
    with pytest.raises(ValueError, match="too long"):
        shaper.content(bytes(shaping.MAX_EVENT_SIZE + 1))


@pytest.mark.parametrize("response", [problem(400), Response(200, JSON, b'{"a":1}' * 100)])
def test_an_answer_that_is_no_stream_comes_whole(response: Response) -> None:
    """Nothing of it shows before it ends, not even its status."""
    shaper = AnswerShaper(128, SERIES)
    shaper.head(response.status, response.headers)
    shaper.content(response.content[:5])
    early = [shaper.tick()[0] for _ in range(3)]
    events = ResponseDecoder().feed(b"".join(early))
    assert {type(event) for event in events} == {Informational}
    shaper.content(response.content[5:])
    assert shaper.waiting == 0
    shaper.end()
    assert shaper.waiting > len(response.content)
    decoded = decode_response(b"".join([*early, *drain(shaper)]))
    assert (decoded.status, decoded.headers) == (response.status, response.headers)
    assert decoded.content == response.content


def test_short_answers_are_alike() -> None:
    """An error, a short answer and a longer one take the same number of the same pieces."""
    shapes = set()
    for response in (problem(400), problem(503), Response(200, JSON, b"x" * 400)):
        shaper = AnswerShaper(512, SERIES)
        shaper.answer(response)
        shapes.add(tuple(len(piece) for piece in drain(shaper)))
    assert shapes == {(512,) * 4}


def test_trailers() -> None:
    shaper = AnswerShaper(64, SERIES)
    shaper.answer(Response(200, JSON, b"{}", ((b"x", b"y"),)))
    decoded = decode_response(b"".join(drain(shaper)))
    assert (decoded.content, decoded.trailers) == (b"{}", ((b"x", b"y"),))


def test_waiting_counts_what_ticks_will_send() -> None:
    shaper = AnswerShaper(100, SERIES)
    shaper.tick()
    shaper.head(200, EVENTS)
    shaper.content(b"data: " + b"x" * 1000 + b"\n\n")
    before = shaper.waiting
    assert 1000 < before < 1100
    shaper.tick()
    assert shaper.waiting == before - 100


def test_order() -> None:
    shaper = AnswerShaper(64, SERIES)
    body: list[Callable[[], object]] = [lambda: shaper.content(b"x"), shaper.end]
    for misuse in body:
        with pytest.raises(ValueError, match="out of order"):
            misuse()
    shaper.answer(Response(204))
    for misuse in [*body, lambda: shaper.head(200)]:
        with pytest.raises(ValueError, match="out of order"):
            misuse()
    drain(shaper)
    with pytest.raises(ValueError, match="final piece"):
        shaper.tick()


@pytest.mark.parametrize("size", [0, 16385])
def test_sizes_that_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="bytes"):
        AnswerShaper(size, SERIES)


lines = st.from_regex(rb"(data: ?|data:|: |id: |event: |)[a-z:{} ]{0,12}", fullmatch=True)
ends = st.sampled_from([b"\n", b"\n\n", b"\r\n", b"\r\n\r\n", b"\r", b"\r\r", b""])
streams = st.lists(st.tuples(lines, ends).map(b"".join), max_size=30).map(b"".join)
sizes = st.integers(1, 80) | st.sampled_from([128, 1024, 16384])
steps = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=25)


@settings(max_examples=400)
@given(streams, sizes, st.integers(0, 5), steps)
def test_any_stream_at_any_pace(
    stream: bytes, size: int, early: int, schedule: list[tuple[int, int]]
) -> None:
    shaper = AnswerShaper(size, SERIES)
    pieces = [shaper.tick() for _ in range(early)]
    shaper.head(200, EVENTS)
    rest = stream
    for ticks, length in schedule:
        shaper.content(rest[:length])
        rest = rest[length:]
        pieces += [shaper.tick() for _ in range(ticks)]
    shaper.content(rest)
    shaper.end()
    assert all(mark is Mark.CONTINUES for _, mark in pieces)
    sent = [piece for piece, _ in pieces] + drain(shaper)
    assert {len(piece) for piece in sent} == {size}
    assert SERIES.reach(len(sent)) == len(sent)
    decoded = decode_response(b"".join(sent))
    assert (decoded.status, decoded.headers) == (200, EVENTS)
    assert parse_events(decoded.content) == parse_events(stream)
    assert {item.status for item in decoded.informational} <= {102}


@settings(max_examples=200)
@given(st.binary(max_size=3000), sizes, st.integers(0, 10), st.integers(0, 10))
def test_any_whole_answer_at_any_pace(body: bytes, size: int, early: int, late: int) -> None:
    shaper = AnswerShaper(size, SERIES)
    sent = [shaper.tick()[0] for _ in range(early)]
    shaper.head(404, JSON)
    shaper.content(body)
    sent += [shaper.tick()[0] for _ in range(late)]
    shaper.end()
    sent += drain(shaper)
    assert {len(piece) for piece in sent} == {size}
    assert SERIES.reach(len(sent)) == len(sent)
    decoded = decode_response(b"".join(sent))
    assert (decoded.status, decoded.headers, decoded.content) == (404, JSON, body)


def test_the_number_of_pieces_says_little() -> None:
    """Streams of 1 to 2,000 bytes at one event a tick have few lengths."""
    counts = set()
    for events in range(1, 200):
        shaper = AnswerShaper(256, SERIES)
        shaper.head(200, EVENTS)
        sent = []
        for number in range(events):
            shaper.content(b"data: " + json.dumps({"token": number}).encode() + b"\n\n")
            sent.append(shaper.tick()[0])
        shaper.end()
        counts.add(len(sent + drain(shaper)))
    assert counts == {4, 6, 9, 14, 21, 32, 48, 72, 108, 162, 243}

"""Amazon's frames: read whole and octet by octet, held against botocore, and broken everywhere."""

import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.chat.dialects.amazon.frames import (
    MAX_FRAME_OCTETS,
    MAX_HEADERS_OCTETS,
    Frame,
    FrameParser,
)
from protocol.errors import MalformedMessage
from tests.support.amazon_frames import frame, frame_of, header

NAMES = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=20)
HEADERS = st.dictionaries(NAMES, st.text(max_size=40), max_size=5)
PAYLOADS = st.binary(max_size=200)


def read(data: bytes, step: int) -> list[Frame]:
    parser = FrameParser()
    pieces = [data[start : start + step] for start in range(0, len(data), step)]
    return [frame for piece in pieces for frame in parser.feed(piece)]


@given(st.lists(st.tuples(HEADERS, PAYLOADS), max_size=4), st.integers(1, 50))
def test_frames_are_read_as_botocore_reads_them(
    sent: list[tuple[dict[str, str], bytes]], step: int
) -> None:
    data = b"".join(frame(headers, payload) for headers, payload in sent)
    frames = read(data, step)
    assert frames == [Frame(headers, payload) for headers, payload in sent]
    oracle = EventStreamBuffer()
    oracle.add_data(data)
    assert [(dict(told.headers), told.payload) for told in oracle] == frames


def test_frames_are_read_octet_by_octet_and_with_more_behind() -> None:
    data = frame({"a": "b"}, b"x") + frame({}, b"")
    for given_data in (data, data + data[:11], data + data[:-1]):
        assert read(given_data, 1)[:2] == [Frame({"a": "b"}, b"x"), Frame({}, b"")]


def test_frames_before_a_broken_one_are_read() -> None:
    frames = FrameParser().feed(frame({"a": "b"}, b"x") + bytes(12))
    assert next(frames) == Frame({"a": "b"}, b"x")
    with pytest.raises(MalformedMessage):
        next(frames)


def test_headers_of_other_types_are_passed_over() -> None:
    others = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
    octets = b"".join(
        header(f"h{kind}", bytes(size), kind, size=False) for kind, size in others.items()
    )
    octets += header("octets", b"\xff", 6) + header("text", "ä".encode())
    (only,) = read(frame_of(octets, b""), 100)
    assert only.headers == {"text": "ä"}


def test_every_changed_octet_is_noticed() -> None:
    data = frame({"a": "b"}, b"payload")
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(MalformedMessage):
            read(bytes(changed) + data, 1000)


def prelude(total: int, headers: int) -> bytes:
    sizes = struct.pack("!II", total, headers)
    return sizes + struct.pack("!I", zlib.crc32(sizes))


BROKEN = {
    "sizes that contradict each other": prelude(20, 5),
    "a frame that is less than nothing": prelude(15, 0),
    "a frame that is too large": prelude(MAX_FRAME_OCTETS + 1, 0),
    "headers that are too large": prelude(MAX_FRAME_OCTETS, MAX_HEADERS_OCTETS + 1),
    "a header that is cut": frame_of(header("a", b"bc")[:-1], b""),
    "a header without a type": frame_of(header("a", b"")[:2], b""),
    "a header of an unknown type": frame_of(header("a", b"", 10), b""),
    "a header that is no text": frame_of(header("a", b"\xff"), b""),
    "a header twice": frame_of(2 * header("a", b"b"), b""),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_no_frame_is_refused_at_once(case: str) -> None:
    with pytest.raises(MalformedMessage):
        read(BROKEN[case], 1000)


def test_largest_frames_are_awaited() -> None:
    assert read(prelude(MAX_FRAME_OCTETS, MAX_HEADERS_OCTETS), 5) == []

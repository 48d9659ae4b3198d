"""Frames: whole, octet by octet, several at once, and out of range."""

import pytest

from protocol.cluster_frames import MAX_FRAME_BYTES, FrameReader, encode_frame
from protocol.errors import MalformedMessage

CONTENTS = [b"a", b"bc" * 300, bytes(MAX_FRAME_BYTES)]


def test_frames_come_whole_and_octet_by_octet() -> None:
    data = b"".join(map(encode_frame, CONTENTS))
    whole, single = FrameReader(), FrameReader()
    assert whole.feed(data) == CONTENTS
    found = [frame for at in range(len(data)) for frame in single.feed(data[at : at + 1])]
    assert found == CONTENTS
    assert whole.is_empty
    assert single.is_empty


def test_every_truncation_gives_no_frame_and_shows() -> None:
    data = encode_frame(b"content")
    for size in range(1, len(data)):
        reader = FrameReader()
        assert reader.feed(data[:size]) == []
        assert not reader.is_empty


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 0xFFFF])
def test_a_length_out_of_range_is_refused_before_its_content(length: int) -> None:
    reader = FrameReader()
    assert reader.feed(encode_frame(b"x")) == [b"x"]
    with pytest.raises(MalformedMessage):
        reader.feed(length.to_bytes(2, "big"))


@pytest.mark.parametrize("content", [b"", bytes(MAX_FRAME_BYTES + 1)])
def test_what_would_be_refused_is_not_written(content: bytes) -> None:
    with pytest.raises(ValueError, match="octets"):
        encode_frame(content)

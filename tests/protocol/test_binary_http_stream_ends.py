"""Responses in pieces: the order of their parts, written and read, and where they may end."""

import pytest

from protocol import varint
from protocol.binary_http_fields import (
    MAX_FIELDS,
    MAX_SECTION_SIZE,
    Fields,
    Informational,
    encode_fields,
)
from protocol.binary_http_stream import (
    Event,
    ResponseDecoder,
    ResponseEncoder,
    ResponseHead,
    Trailers,
)
from protocol.errors import MalformedMessage

HEADERS: Fields = ((b"a", b"1"),)
TRAILERS: Fields = ((b"t", b"2"),)


def status(number: int) -> bytes:
    return varint.encode(number)


KNOWN = b"\1" + status(200) + b"\4" + encode_fields(HEADERS) + b"\2hi\4" + encode_fields(TRAILERS)


def written() -> bytes:
    encoder = ResponseEncoder()
    parts = [encoder.informational(103, HEADERS), encoder.start(200, HEADERS)]
    parts += [encoder.content(b"con"), encoder.content(b""), encoder.content(b"tent")]
    return b"".join([*parts, encoder.finish(TRAILERS)])


def read(data: bytes, step: int) -> list[Event]:
    """Return the events of `data`, fed `step` octets at a time; content as one event."""
    decoder, events = ResponseDecoder(), list[Event]()
    for start in range(0, len(data), step):
        events += decoder.feed(data[start : start + step])
    events += decoder.finish()
    return joined(events)


def joined(events: list[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if isinstance(event, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += event
        else:
            found.append(event)
    return found


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_what_is_written_is_read(step: int) -> None:
    expected = [
        Informational(103, HEADERS),
        ResponseHead(200, HEADERS),
        b"content",
        Trailers(TRAILERS),
    ]
    assert read(written(), step) == expected
    assert read(written() + bytes(5), step) == expected  # padding


@pytest.mark.parametrize("step", [1, 2, 3, 1000])
def test_the_known_length_form_is_read_too(step: int) -> None:
    assert read(KNOWN, step) == [ResponseHead(200, HEADERS), b"hi", Trailers(TRAILERS)]
    assert read(KNOWN + bytes(5), step)[-1] == Trailers(TRAILERS)


@pytest.mark.parametrize("final", [200, 201, 599])
def test_a_message_of_known_length_may_end_behind_its_head(final: int) -> None:
    # RFC 9292, Section 3.8: what is left out at the end is empty.
    assert read(b"\1" + status(final) + b"\0", 1) == [ResponseHead(final, ())]


def test_content_is_given_as_it_comes() -> None:
    decoder = ResponseDecoder()
    decoder.feed(KNOWN[: KNOWN.index(b"hi")])
    assert decoder.feed(b"h") == [b"h"]
    assert decoder.feed(b"i") == [b"i"]


def test_the_octets_are_those_of_the_rfc() -> None:
    encoder = ResponseEncoder()
    assert encoder.informational(103) == b"\3" + status(103) + b"\0"
    assert encoder.start(200) == status(200) + b"\0"
    assert encoder.content(b"abc") == b"\3abc"
    assert encoder.content(b"") == b""
    assert encoder.finish() == b"\0\0"


def test_parts_come_in_their_order() -> None:
    fresh = ResponseEncoder()
    with pytest.raises(ValueError, match="out of order after NOTHING"):
        fresh.content(b"x")
    with pytest.raises(ValueError, match="out of order after NOTHING"):
        fresh.finish()
    fresh.informational(103)
    with pytest.raises(ValueError, match="out of order after INTERIM"):
        fresh.content(b"x")
    fresh.start(200)
    with pytest.raises(ValueError, match="out of order after HEAD"):
        fresh.informational(103)
    with pytest.raises(ValueError, match="out of order after HEAD"):
        fresh.start(200)
    fresh.finish()
    with pytest.raises(ValueError, match="out of order after ALL"):
        fresh.content(b"x")
    with pytest.raises(ValueError, match="out of order after ALL"):
        fresh.finish()


def test_a_wrong_part_is_not_written() -> None:
    encoder = ResponseEncoder()
    with pytest.raises(ValueError, match="final status"):
        encoder.start(199)
    with pytest.raises(ValueError, match="field line"):
        encoder.start(200, ((b"", b""),))
    encoder.start(200)
    with pytest.raises(ValueError, match="in trailers"):
        encoder.finish(((b":a", b""),))
    encoder.finish()


# Where each form may end (RFC 9292, Section 3.8): only what is empty may be missing.
MAY_END = [
    b"\1" + status(200),
    b"\1" + status(200) + b"\0",
    b"\1" + status(200) + b"\0\0",
    b"\1" + status(200) + b"\0\2hi",
    b"\1" + status(103) + b"\0" + status(200),
    b"\3" + status(200) + b"\0",
    b"\3" + status(200) + b"\0\0",
    b"\3" + status(200) + b"\0\0\0",
    b"\3" + status(200) + b"\0\2hi\0",
]
MAY_NOT_END = [
    b"",
    b"\1",
    b"\1" + status(103),
    b"\1" + status(103) + b"\0",
    b"\1" + status(200) + b"\4\1a",
    b"\1" + status(200) + b"\0\2h",
    b"\3",
    b"\3" + status(200),
    b"\3" + status(103) + b"\0",
    b"\3" + status(200) + b"\1a\1b",
    b"\3" + status(200) + b"\0\2h",
    b"\3" + status(200) + b"\0\2hi",
    b"\3" + status(200) + b"\0\0\1t\1v",
]


@pytest.mark.parametrize("data", MAY_END)
@pytest.mark.parametrize("step", [1, 1000])
def test_where_a_response_may_end(data: bytes, step: int) -> None:
    assert any(isinstance(event, ResponseHead) for event in read(data, step))


@pytest.mark.parametrize("data", MAY_NOT_END)
@pytest.mark.parametrize("step", [1, 1000])
def test_where_it_may_not(data: bytes, step: int) -> None:
    with pytest.raises(MalformedMessage, match="ends early"):
        read(data, step)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",  # a request
        b"\2",
        b"\4",
        b"\1" + status(99),
        b"\1" + status(600),
        b"\1" + status(200) + b"\2\0\0",  # an empty name
        b"\3" + status(200) + b"\1:\1v\0",
        b"\3" + status(200) + b"\0\0\2:a\1v\0",  # a pseudo-field in trailers
        written() + b"\1",
        written() + b"\0\1",
        KNOWN + b"\1",
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_malformed_fails_as_soon_as_it_is_seen(data: bytes, step: int) -> None:
    decoder = ResponseDecoder()

    def feed() -> None:
        for start in range(0, len(data), step):
            decoder.feed(data[start : start + step])

    with pytest.raises(MalformedMessage, match="binary HTTP response"):
        feed()
    for more in (b"\0", written()):  # and for good
        with pytest.raises(MalformedMessage):
            decoder.feed(more)


def test_nothing_follows_the_end() -> None:
    decoder = ResponseDecoder()
    decoder.feed(written())
    assert decoder.finish() == []
    with pytest.raises(MalformedMessage):
        decoder.feed(b"\0")
    with pytest.raises(MalformedMessage):
        decoder.finish()


def test_a_section_of_lines_has_the_limits_of_any() -> None:
    line = b"\1a\0"
    decoder = ResponseDecoder()
    decoder.feed(b"\3" + status(200) + line * MAX_FIELDS)
    assert decoder.feed(b"\0") == [ResponseHead(200, ((b"a", b""),) * MAX_FIELDS)]
    with pytest.raises(MalformedMessage):
        ResponseDecoder().feed(b"\3" + status(200) + line * (MAX_FIELDS + 1))
    half = b"\1a" + varint.encode(MAX_SECTION_SIZE // 2) + b"x" * (MAX_SECTION_SIZE // 2)
    with pytest.raises(MalformedMessage):
        ResponseDecoder().feed(b"\3" + status(200) + half * 2)
    decoder = ResponseDecoder()  # the trailers are a section of their own
    decoder.feed(b"\3" + status(200) + half + b"\0\0" + half)
    assert decoder.feed(b"\0") != []

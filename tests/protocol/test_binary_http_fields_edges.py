"""Field sections: their limits at the edge, control data, and what may stand in a line."""

import pytest

from protocol import varint
from protocol.binary_http_fields import (
    MAX_FIELDS,
    MAX_SECTION_SIZE,
    Fields,
    Framing,
    Informational,
    check_final_status,
    check_headers,
    check_informational_status,
    check_request_control,
    check_section_size,
    check_trailers,
    decode_line,
    decode_section,
    decode_text,
    encode_fields,
    field_value,
)
from protocol.errors import IncompleteMessage, MalformedMessage

FIELDS: Fields = ((b"a", b"1"), (b"b-c", b""), (b"a", b"x y"))


def section(lines: bytes) -> bytes:
    return varint.encode(len(lines)) + lines


def test_a_section_is_read_as_it_was_written() -> None:
    data = section(encode_fields(FIELDS))
    assert decode_section(data + b"rest", 0) == (FIELDS, len(data))
    assert decode_section(b"xy" + data, 2) == (FIELDS, len(data) + 2)
    assert decode_section(b"\0", 0) == ((), 1)


def test_lines_are_read_one_by_one_to_their_end() -> None:
    data, offset, found = encode_fields(FIELDS) + b"\0rest", 0, []
    while True:
        line, offset = decode_line(data, offset)
        if line is None:
            break
        found.append(line)
    assert (tuple(found), data[offset:]) == (FIELDS, b"rest")


@pytest.mark.parametrize("cut", range(1, len(section(encode_fields(FIELDS)))))
def test_a_section_that_is_cut_is_incomplete(cut: int) -> None:
    with pytest.raises(IncompleteMessage):
        decode_section(section(encode_fields(FIELDS))[:cut], 0)


@pytest.mark.parametrize("cut", range(len(encode_fields(FIELDS[:1]))))
def test_a_line_that_is_cut_is_incomplete(cut: int) -> None:
    with pytest.raises(IncompleteMessage):
        decode_line(encode_fields(FIELDS[:1])[:cut], 0)


def test_text_ends_where_its_length_says() -> None:
    assert decode_text(b"\2abc", 0) == (b"ab", 3)
    assert decode_text(b"\0", 0) == (b"", 1)
    with pytest.raises(IncompleteMessage):
        decode_text(b"\2a", 0)


def test_a_line_does_not_overrun_its_section() -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_section(b"\3\1a\5bcdef", 0)
    assert not isinstance(caught.value, IncompleteMessage)  # more octets would not help


def test_the_limits_of_a_section() -> None:
    check_section_size(MAX_FIELDS, MAX_SECTION_SIZE)
    for lines, size in ((MAX_FIELDS + 1, 0), (0, MAX_SECTION_SIZE + 1)):
        with pytest.raises(MalformedMessage):
            check_section_size(lines, size)
    assert (MAX_FIELDS, MAX_SECTION_SIZE) == (256, 65536)


def test_a_section_is_as_long_as_its_limit_and_no_longer() -> None:
    overhead = 1 + 1 + 4  # of the name's length, the name, and the value's length
    lines = encode_fields(((b"a", b"x" * (MAX_SECTION_SIZE - overhead)),))
    assert len(lines) == MAX_SECTION_SIZE
    assert decode_section(section(lines), 0)[1] == len(section(lines))
    with pytest.raises(MalformedMessage, match="too long"):
        decode_section(varint.encode(MAX_SECTION_SIZE + 1), 0)  # before any of it has come
    many = ((b"a", b""),) * MAX_FIELDS
    assert decode_section(section(encode_fields(many)), 0)[0] == many
    with pytest.raises(MalformedMessage):
        decode_section(section(encode_fields((*many, (b"a", b"")))), 0)


@pytest.mark.parametrize("place", ["name", "value"])
def test_a_long_line_is_refused_before_it_has_come(place: str) -> None:
    before = b"" if place == "name" else b"\1a"
    largest = before + varint.encode(MAX_SECTION_SIZE)
    with pytest.raises(IncompleteMessage):
        decode_line(largest, 0)
    with pytest.raises(MalformedMessage, match="too long"):
        decode_line(before + varint.encode(MAX_SECTION_SIZE + 1), 0)


def test_names_are_written_in_lower_case_and_found_in_any() -> None:
    assert encode_fields(((b"Accept", b"V"),)) == b"\6accept\1V"
    mixed: Fields = ((b"X", b"1"), (b"ACCEPT", b"first"), (b"accept", b"second"))
    assert field_value(mixed, b"accept") == b"first"
    assert field_value(mixed, b"y") is None


@pytest.mark.parametrize(
    "line",
    [
        (b"", b"v"),
        (b"a b", b"v"),
        (b"a:", b"v"),
        (b"::a", b"v"),
        (b"a\xe9", b"v"),
        (b"a", b" v"),
        (b"a", b"v\t"),
        (b"a", b"v\r"),
        (b"a", b"v\n"),
        (b"a", b"\0"),
    ],
)
def test_a_line_that_may_not_stand_anywhere(line: tuple[bytes, bytes]) -> None:
    for check in (check_headers, check_trailers):
        with pytest.raises(ValueError, match="field line"):
            check((line,))


def test_pseudo_fields_come_first_and_never_in_trailers() -> None:
    check_headers(((b":protocol", b"x"), (b"a", b"")))
    with pytest.raises(ValueError, match="out of place"):
        check_headers(((b"a", b""), (b":protocol", b"x")))
    with pytest.raises(ValueError, match="in trailers"):
        check_trailers(((b":protocol", b"x"),))
    check_trailers(((b"a", b""),))


@pytest.mark.parametrize("name", [b":method", b":scheme", b":authority", b":path", b":Status"])
def test_control_data_is_no_field(name: bytes) -> None:
    with pytest.raises(ValueError, match="out of place"):
        check_headers(((name, b"x"),))


@pytest.mark.parametrize(
    ("method", "scheme", "authority", "path"),
    [
        (b"GET", b"https", b"host", b"/"),
        (b"GET", b"https", b"", b"/"),
        (b"CONNECT", b"", b"host:443", b""),
        (b"CONNECT", b"https", b"host", b"/"),  # extended CONNECT
        (b"M-SEARCH", b"a+b-c.1", b"", b"*"),
    ],
)
def test_control_data_that_is_right(
    method: bytes, scheme: bytes, authority: bytes, path: bytes
) -> None:
    check_request_control(method, scheme, authority, path)


@pytest.mark.parametrize(
    ("method", "scheme", "authority", "path"),
    [
        (b"", b"https", b"host", b"/"),
        (b"G T", b"https", b"host", b"/"),
        (b"GET", b"", b"host", b"/"),
        (b"GET", b"1https", b"host", b"/"),
        (b"GET", b"https", b"ho st", b"/"),
        (b"GET", b"https", b"host", b""),
        (b"GET", b"https", b"host", b"/ x"),
        (b"GET", b"https", b"host", b"/\x7f"),
        (b"GET", b"", b"host", b""),
        (b"CONNECT", b"", b"", b""),
        (b"CONNECT", b"", b"host", b"/"),
        (b"CONNECT", b"https", b"host", b""),
    ],
)
def test_control_data_that_is_wrong(
    method: bytes, scheme: bytes, authority: bytes, path: bytes
) -> None:
    with pytest.raises(ValueError, match="control data"):
        check_request_control(method, scheme, authority, path)


def test_statuses_have_ends() -> None:
    for status in (200, 599):
        check_final_status(status)
    for status in (199, 600):
        with pytest.raises(ValueError, match="final status"):
            check_final_status(status)
    for status in (100, 199):
        check_informational_status(status)
        assert Informational(status).headers == ()
    for status in (99, 200):
        with pytest.raises(ValueError, match="informational status"):
            Informational(status)
    with pytest.raises(ValueError, match="field line"):
        Informational(100, ((b"", b""),))


def test_framing_indicators_are_those_of_the_rfc() -> None:
    assert [each.value for each in Framing] == [0, 1, 2, 3]

"""Heads of requests without any socket, and both ways in which they are read."""

import itertools
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_server.http import request_head
from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head, Refused, parse_any, parse_head, parse_plain
from enclave_server.http.request_reader import RequestReader
from tests.support.outer_requests import CHUNKED, GET, POST, head, read, status_of
from tests.support.vector_files import load


def test_fields_keep_their_order_and_lose_their_case() -> None:
    parsed = head(b"GET / HTTP/1.1", b"HOST: a", b"X-B:  1 ", b"x-a:2")
    assert parsed.request.headers == ((b"host", b"a"), (b"x-b", b"1"), (b"x-a", b"2"))
    assert parsed.request.fields(b"x-b") == [b"1"]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        (b"/", b"/", b""),
        (b"/a/b;c=d", b"/a/b;c=d", b""),
        (b"/a?b=c?d/e", b"/a", b"b=c?d/e"),
        (b"/%7Ea", b"/%7Ea", b""),
        (b"//a", b"//a", b""),
        (b"http://example.com", b"/", b""),
        (b"https://example.com:443/a?b", b"/a", b"b"),
        (b"http://[::1]:80?b", b"/", b"b"),
        (b"HTTP://a/b", b"/b", b""),
    ],
)
def test_targets(target: bytes, path: bytes, query: bytes) -> None:
    request = head(b"GET %b HTTP/1.1" % target, b"Host: a").request
    assert (request.path, request.query) == (path, query)


@pytest.mark.parametrize(
    "target",
    [
        *(b"a", b"*", b"a:443", b"?a", b"/a#b", b'/"', b"/|", b"/\\", b"/%zz", b"/%4"),
        *(b"ftp://a/b", b"http:/a", b"http://u:p@a/", b"/a\x80", b"/{}"),
    ],
)
def test_bad_targets(target: bytes) -> None:
    assert status_of(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % target) == 400


def test_server_wide_options() -> None:
    assert head(b"OPTIONS * HTTP/1.1", b"Host: a").request.path == b"*"


def test_connect_is_refused() -> None:
    assert status_of(b"CONNECT /a HTTP/1.1\r\nHost: a\r\n\r\n") == 400


@pytest.mark.parametrize(
    "version", [b"HTTP/0.9", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"ICE/1.0"]
)
def test_other_versions(version: bytes) -> None:
    assert status_of(b"GET / %b\r\nHost: a\r\n\r\n" % version) == 400


@pytest.mark.parametrize("host", [b"a b", b"a/b", b"a@b", b"[::1", b"a:b", b"a:99999999"])
def test_bad_hosts(host: bytes) -> None:
    assert status_of(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host) == 400


@pytest.mark.parametrize(
    "fields",
    [
        b"",
        b"Host: a\r\nHost: a\r\n",
        b"Host: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
        b"Host: a\r\nContent-Length: 1, 1\r\n",
        b"Host: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Host: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"Host: a\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"Host: a\r\nContent_Length: 1\r\n",
        b"Host: a\r\nTransfer_Encoding: chunked\r\n",
        b"Host: a\r\nX: 1\r\n 2\r\n",
        b"Host: a\nX: 1\r\n",
        b"Host: a\r\nX: 1\rY: 2\r\n",
        b"Host: a\r\nX: \x00\r\n",
        b"Host: a\r\nX : 1\r\n",
        b"Host: a\r\nExpect: x\r\nExpect: x\r\n",
    ],
)
def test_bad_fields(fields: bytes) -> None:
    assert status_of(b"POST / HTTP/1.1\r\n%b\r\n" % fields) == 400


def test_chunks_need_http_1_1() -> None:
    assert status_of(CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0")) == 400


@pytest.mark.parametrize("expectation", [b"100-continue", b"100-Continue", b"something", b""])
def test_every_expectation_fails(expectation: bytes) -> None:
    assert status_of(POST + b"Expect: %b\r\n\r\n" % expectation) == 417


def test_an_old_peer_expects_nothing() -> None:
    assert head(b"GET / HTTP/1.0", b"Expect: 100-continue")


@pytest.mark.parametrize(
    ("version", "connection", "keep_alive"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: x, Close\r\n", False),
        (b"1.1", b"Connection: x\r\nConnection: close\r\n", False),
        (b"1.1", b"Connection: closed\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: keep-alive\r\n", False),
    ],
)
def test_keep_alive(version: bytes, connection: bytes, keep_alive: bool) -> None:
    data = b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, connection)
    assert parse_head(data, Limits()).keep_alive is keep_alive


def test_limits_of_the_head() -> None:
    assert status_of(b"GET / HTTP/1.1\r\nX: " + b"a" * 100, Limits(head_bytes=64)) == 431
    exact = len(GET)
    assert read([GET], Limits(head_bytes=exact))
    assert status_of(GET, Limits(head_bytes=exact - 1)) == 431
    assert status_of(GET, Limits(target_bytes=6)) == 414
    many = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"x:\r\n" * 3 + b"\r\n"
    assert read([many], Limits(head_fields=4))
    assert status_of(many, Limits(head_fields=3)) == 431


# Both ways of reading.

RELAYED = (
    b"POST /v1/ohttp?a=%41 HTTP/1.1\r\nHost: gateway.example:443\r\nConnection: keep-alive\r\n"
    b"Content-Length: 1106\r\nContent-Type: message/ohttp-req\r\nX-Request-Id:0af7651916cd43dd\r\n"
    b"Via: 1.1 relay, 1.1 cdn\r\nUser-Agent: relay/1 \xe9(a b)\r\nEmpty:\r\n\r\n"
)
CODED = POST + b"Transfer-Encoding: chunked\r\nCF-Ray: 8f1c2d3e4f5a6b7c-FRA\r\n\r\n"
OLD = b"GET / HTTP/1.0\r\nHost: [::1]:80\r\nConnection: x, Close\r\n\r\n"
PLAIN = (RELAYED, CODED, OLD, GET)

CORPUS = [bytes.fromhex(case["raw_hex"]) for case in load("http1-malformed.json")["cases"]]
PIECES = (
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b"\r\n ", b":", b"\x00", b"\x0b", b"\x7f"),
    *(b"\x80", b"\xff", b",", b"0", b"+", b"_", b"-", b"%", b"%zz", b"%41", b"?", b"#", b"/", b"@"),
    *(b"\r\nHost: b", b"\r\nHost:", b"\r\nContent-Length: 0", b"\r\nContent-Length: 5, 5"),
    *(b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding: Chunked", b"\r\nExpect: x"),
    *(b"\r\nTransfer-Encoding: x, chunked", b"\r\nConnection: close", b"\r\nContent_Length: 1"),
    *(b"CONNECT ", b"OPTIONS * ", b"http://a/b", b"HTTP/1.0", b"HTTP/1.1", b"HTTP/2.0", b"9" * 21),
)

Outcome = tuple[list[Head | bytes], int | None]


def lines_of(data: bytes) -> int:
    """Return how many field lines a head has."""
    return data.count(b"\r\n") - 2


def outcome(pieces: list[bytes]) -> Outcome:
    """Return every head and body, and the status of the refusal, if any."""
    reader, events = RequestReader(Limits()), []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                events.append(event)
    except Refused as refusal:
        return events, int(refusal.status)
    return events, None


def outcome_of_h11(data: bytes) -> Outcome:
    """Return what is read when h11 reads every head."""
    with mock.patch.object(request_head, "parse_plain", return_value=None):
        return outcome([data])


def check_alike(data: bytes) -> None:
    """Both ways read the same, whole and octet by octet."""
    expected = outcome_of_h11(data)
    assert outcome([data]) == expected
    assert outcome([data[i : i + 1] for i in range(len(data))]) == expected


@pytest.mark.parametrize("data", PLAIN)
def test_heads_of_relays_are_plain(data: bytes) -> None:
    read_plainly = parse_plain(data, lines_of(data))
    assert read_plainly is not None
    assert read_plainly == parse_any(data, lines_of(data))


@pytest.mark.parametrize(
    "data",
    [
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a \r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n",
    ],
)
def test_odd_and_legal_heads_are_left_to_h11(data: bytes) -> None:
    assert parse_plain(data, lines_of(data)) is None
    assert parse_any(data, lines_of(data)) == parse_head(data, Limits())


def test_no_head_is_kept() -> None:
    assert parse_head(GET, Limits()) is not parse_head(GET, Limits())


@pytest.mark.parametrize("data", [*CORPUS, *(RELAYED[:n] + RELAYED for n in range(len(RELAYED)))])
def test_both_ways_read_the_same(data: bytes) -> None:
    check_alike(data)


@pytest.mark.parametrize("data", PLAIN)
@pytest.mark.parametrize("piece", PIECES)
def test_both_ways_read_the_same_with_a_piece_anywhere(data: bytes, piece: bytes) -> None:
    for start, size in itertools.product(range(len(data)), (0, 1)):
        altered = data[:start] + piece + data[start + size :]
        assert outcome([altered]) == outcome_of_h11(altered), altered


@settings(max_examples=500)
@given(st.data())
def test_both_ways_read_the_same_after_any_changes(data: st.DataObject) -> None:
    altered = bytearray(data.draw(st.sampled_from([*PLAIN, *PLAIN, *CORPUS])))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(altered)))
        size = data.draw(st.integers(0, 4))
        altered[start : start + size] = data.draw(st.sampled_from(PIECES) | st.binary(max_size=3))
    check_alike(bytes(altered))


@pytest.mark.parametrize(("digits", "status"), [(20, 413), (21, 400)])
def test_a_length_that_nobody_has_is_too_large_or_no_length(digits: int, status: int) -> None:
    request = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %b\r\n\r\n" % (b"9" * digits)
    assert status_of(request) == status

"""Heads and bodies of requests, and heads of answers, without any socket."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head, Refused, parse_head
from enclave_server.http.request_reader import RequestReader
from enclave_server.http.response_head import encode_head

POST = b"POST /v1/ohttp HTTP/1.1\r\nHost: a\r\n"
WHOLE = POST + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nA: b\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"

Event = tuple[bytes, bytes] | bytes


def read(pieces: list[bytes], limits: Limits | None = None) -> list[Event]:
    """Return method and path of every head, and every body."""
    reader = RequestReader(limits or Limits())
    events: list[Event] = []
    for piece in pieces:
        reader.feed(piece)
        while (event := reader.next_event()) is not None:
            if isinstance(event, Head):
                events.append((event.request.method, event.request.path))
            else:
                events.append(event)
    return events


def status_of(data: bytes, limits: Limits | None = None) -> int:
    """Return the status with which `data` is refused."""
    with pytest.raises(Refused) as refusal:
        read([data], limits)
    return int(refusal.value.status)


def head(line: bytes, *fields: bytes) -> Head:
    return parse_head(b"\r\n".join([line, *fields, b"", b""]), Limits())


def test_counted_body() -> None:
    assert read([WHOLE]) == [(b"POST", b"/v1/ohttp"), b"hello"]


def test_chunked_body() -> None:
    assert read([CHUNKED]) == [(b"POST", b"/v1/ohttp"), b"hello"]


def test_no_body() -> None:
    assert read([GET]) == [(b"GET", b"/health"), b""]


@given(st.lists(st.sampled_from([WHOLE, CHUNKED, GET]), max_size=4), st.data())
def test_pipelined_requests_split_anywhere(requests: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(requests)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=8)))
    bounds = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in itertools.pairwise(bounds)]
    assert read(pieces) == [event for request in requests for event in read([request])]


@given(st.binary(max_size=200), st.sampled_from([b"", POST, CHUNKED[:-20], WHOLE[:-7]]))
def test_any_octets_are_read_or_refused(data: bytes, start: bytes) -> None:
    with contextlib.suppress(Refused):
        read([start + data])


@given(st.data())
def test_altered_requests_are_read_or_refused(data: st.DataObject) -> None:
    request = bytearray(data.draw(st.sampled_from([WHOLE, CHUNKED, GET])))
    request[data.draw(st.integers(0, len(request) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Refused):
        read([bytes(request)])


def test_one_empty_line_before_a_request_is_ignored() -> None:
    assert read([b"\r", b"\n" + GET[:3], GET[3:]]) == read([GET])
    assert read([GET + b"\r\n" + GET]) == read([GET, GET])
    assert status_of(b"\r\n\r\n" + GET) == 400


def test_what_follows_a_request_waits() -> None:
    reader = RequestReader(Limits())
    reader.feed(GET + GET)
    assert isinstance(reader.next_event(), Head)
    assert reader.next_event() == b""
    assert reader.held == len(GET)
    assert not reader.between_requests


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


def test_the_preface_of_http2() -> None:
    assert status_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 400


def test_a_tls_hello_is_refused_at_once() -> None:
    assert status_of(b"\x16\x03\x01\x02\x00\x01\x00") == 400


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


def test_limits_of_the_body() -> None:
    assert read([WHOLE], Limits(body_bytes=5))
    assert status_of(WHOLE[:-5], Limits(body_bytes=4)) == 413
    assert read([CHUNKED], Limits(body_bytes=5))
    assert status_of(CHUNKED[:-15], Limits(body_bytes=4)) == 413
    assert status_of(POST + b"Content-Length: 99999999999999999999\r\n\r\n") == 413
    assert status_of(POST + b"Content-Length: 999999999999999999999\r\n\r\n") == 400


def test_head_of_an_answer() -> None:
    fields = ((b"content-type", b"text/plain"), (b"content-length", b"0"))
    lines = (b"HTTP/1.1 404 Not Found", b"content-type: text/plain", b"content-length: 0")
    assert encode_head(404, fields) == b"\r\n".join([*lines, b"", b""])

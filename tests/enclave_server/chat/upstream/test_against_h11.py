"""Ours beside h11: what both accept is equal, and ours accepts nothing that h11 refuses.

What ours refuses and h11 accepts is listed here by its reason, each with a sample.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave_server.chat.upstream.response_body import LINE_BYTES, MAX_TRAILER_BYTES
from enclave_server.chat.upstream.response_head import (
    MAX_FIELDS,
    MAX_HEAD_BYTES,
    MAX_INFORMATIONAL,
)
from tests.support.response_reading import Reading, by_h11, by_ours

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
LENGTH = b"Content-Length: 2\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def search(pattern: bytes) -> Callable[[bytes], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda data: compiled.search(data) is not None


def longest_line(data: bytes) -> int:
    return max(map(len, data.split(b"\n"))) + 1


# Why ours refuses what h11 accepts: how to tell that it is so, and a sample.
STRICTER: dict[str, tuple[Callable[[bytes], bool], bytes]] = {
    "bare LF": (search(rb"(?<!\r)\n"), OK.replace(b"\r", b"") + LENGTH + b"\r\n{}"),
    "folded line": (search(rb"\r\n[ \t]"), OK + b"A: b\r\n c\r\n" + LENGTH + b"\r\n{}"),
    "control character": (
        search(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
        OK + b"A: \x01\r\n" + LENGTH + b"\r\n{}",
    ),
    "version": (search(rb"HTTP/(?!1\.[01])"), b"HTTP/2.0 200 OK\r\n" + LENGTH + b"\r\n{}"),
    "status": (search(rb"HTTP/1\.. [6-9]"), b"HTTP/1.1 600 OK\r\n" + LENGTH + b"\r\n{}"),
    "a length and a coding": (
        search(rb"(?s)(content-length:.*transfer-encoding:|transfer-encoding:.*content-length:)"),
        OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    "more than one length": (
        search(rb"(?s)content-length:([^\r]*,|.*content-length:)"),
        OK + LENGTH + LENGTH + b"\r\n{}",
    ),
    "length of too many digits": (
        search(rb"content-length:[ \t]*[0-9]{16}"),
        OK + b"Content-Length: %016d\r\n\r\n{}" % 2,
    ),
    "coding in HTTP/1.0": (
        search(rb"(?s)HTTP/1\.0.*transfer-encoding:"),
        CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    ),
    "length or coding of an informational response": (
        search(rb"(?s)HTTP/1.1 1.*(content-length|transfer-encoding):"),
        b"HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n" + OK + LENGTH + b"\r\n{}",
    ),
    "white space after the size of a chunk": (
        search(rb"\n[0-9a-f]+[ \t]+(;|\r)"),
        CHUNKED + b"2 \r\n{}\r\n0\r\n\r\n",
    ),
    "malformed chunk extension": (search(rb"\n[0-9a-f]+;"), CHUNKED + b"2;\r\n{}\r\n0\r\n\r\n"),
    "size of too many digits": (
        search(rb"\n[0-9a-f]{16}"),
        CHUNKED + b"%016x\r\n{}\r\n0\r\n\r\n" % 2,
    ),
    "long size line": (
        lambda data: longest_line(data) > LINE_BYTES,
        CHUNKED + b"2;a=" + b"b" * LINE_BYTES + b"\r\n{}\r\n0\r\n\r\n",
    ),
    "long head": (
        lambda data: len(data) > MAX_HEAD_BYTES,
        OK + b"A: " + b"b" * MAX_HEAD_BYTES + b"\r\n" + LENGTH + b"\r\n{}",
    ),
    "many fields": (
        lambda data: data.count(b"\n") > MAX_FIELDS,
        OK + b"A: b\r\n" * MAX_FIELDS + LENGTH + b"\r\n{}",
    ),
    "many informational responses": (
        lambda data: data.count(b"HTTP/1") > MAX_INFORMATIONAL,
        CONTINUE * (MAX_INFORMATIONAL + 1) + OK + LENGTH + b"\r\n{}",
    ),
    "long trailers": (
        lambda data: len(data) > MAX_TRAILER_BYTES,
        CHUNKED + b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_BYTES // 6 + 1) + b"\r\n",
    ),
}

ACCEPTED = {
    "length": OK + LENGTH + b"\r\n{}",
    "no body": OK + b"Content-Length: 0\r\n\r\n",
    "without reason": b"HTTP/1.1 200\r\n" + LENGTH + b"\r\n{}",
    "empty reason": b"HTTP/1.1 200 \r\n" + LENGTH + b"\r\n{}",
    "reason beyond ASCII": b"HTTP/1.1 200 \xc3\x84 b\r\n" + LENGTH + b"\r\n{}",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + LENGTH + b"\r\n{}",
    "until close": OK + b"\r\n{}",
    "until close, empty": OK + b"\r\n",
    "closed by wish": OK + LENGTH + b"Connection: keep-alive, Close\r\n\r\n{}",
    "kept by wish": OK + LENGTH + b"Connection: keep-alive\r\n\r\n{}",
    "surplus": OK + LENGTH + b"\r\n{}HTTP/1.1 200 OK\r\n\r\n",
    "white space around a value": OK + b"Content-Length:\t 2 \t\r\nA:\r\nB: \t\r\n\r\n{}",
    "value beyond ASCII": OK + LENGTH + b"A: \xff\x80 ~\r\n\r\n{}",
    "repeated fields": OK + b"Set-Cookie: a\r\nset-cookie: b\r\n" + LENGTH + b"\r\n{}",
    "every character of a name": OK + b"!#$%&'*+-.^_`|~09azAZ: x\r\n" + LENGTH + b"\r\n{}",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\n" + LENGTH + b"\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\n" + LENGTH + b"\r\n",
    "204 with a coding": CHUNKED.replace(b"200", b"204"),
    "informational": CONTINUE * MAX_INFORMATIONAL + OK + LENGTH + b"\r\n{}",
    "early hints": b"HTTP/1.1 103 Early\r\nLink: </x>\r\n\r\n" + OK + LENGTH + b"\r\n{}",
    "most fields": OK + b"A: b\r\n" * (MAX_FIELDS - 1) + LENGTH + b"\r\n{}",
    "chunks": CHUNKED + b"2\r\n{}\r\n00A\r\n0123456789\r\n0\r\n\r\n",
    "no chunk": CHUNKED + b"0\r\n\r\n",
    "coding in capitals": OK + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunk extensions": CHUNKED + b'2;a;b=c;d="e;\\""\r\n{}\r\n0;f\r\n\r\n',
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nA: b\r\nC:\r\n\r\n",
    "surplus after chunks": CHUNKED + b"2\r\n{}\r\n0\r\n\r\n0\r\n\r\n",
    "longest trailers": CHUNKED + b"0\r\n" + b"A: b\r\n" * (MAX_TRAILER_BYTES // 6) + b"\r\n",
}

REFUSED = {
    "nothing": b"",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "head without end": OK + LENGTH,
    "empty line first": b"\r\n" + OK + LENGTH + b"\r\n{}",
    "status of two digits": b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\n{}",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\n{}",
    "status 000": b"HTTP/1.1 000 OK\r\n" + LENGTH + b"\r\n{}",
    "switching protocols": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"
    + OK
    + LENGTH
    + b"\r\n{}",
    "two spaces": b"HTTP/1.1  200 OK\r\n" + LENGTH + b"\r\n{}",
    "lower case": b"http/1.1 200 OK\r\n" + LENGTH + b"\r\n{}",
    "space before a colon": OK + b"Content-Length : 2\r\n\r\n{}",
    "line without a colon": OK + b"Content-Length\r\n\r\n{}",
    "empty name": OK + b": 2\r\n\r\n{}",
    "name beyond ASCII": OK + b"\xc3\x84: 2\r\n" + LENGTH + b"\r\n{}",
    "NUL in a value": OK + b"A: \0\r\n" + LENGTH + b"\r\n{}",
    "CR in a value": OK + b"A: b\rc\r\n" + LENGTH + b"\r\n{}",
    "fold in the first field": OK + b" A: b\r\n" + LENGTH + b"\r\n{}",
    "negative length": OK + b"Content-Length: -2\r\n\r\n{}",
    "signed length": OK + b"Content-Length: +2\r\n\r\n{}",
    "hexadecimal length": OK + b"Content-Length: 0x2\r\n\r\n{}",
    "empty length": OK + b"Content-Length:\r\n\r\n{}",
    "conflicting lengths": OK + LENGTH + b"Content-Length: 3\r\n\r\n{}",
    "conflicting lengths in a list": OK + b"Content-Length: 2, 3\r\n\r\n{}",
    "short of its length": OK + b"Content-Length: 3\r\n\r\n{}",
    "unknown coding": OK + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding twice": OK + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n",
    "informational with a bad length": b"HTTP/1.1 100 Continue\r\nContent-Length: x\r\n\r\n"
    + OK
    + LENGTH
    + b"\r\n{}",
    "informational alone": CONTINUE,
    "no size": CHUNKED + b"\r\n{}\r\n0\r\n\r\n",
    "size that is no number": CHUNKED + b"x\r\n{}\r\n0\r\n\r\n",
    "signed size": CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n",
    "size with prefix": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "space before the size": CHUNKED + b" 2\r\n{}\r\n0\r\n\r\n",
    "space before an extension": CHUNKED + b"2 ;a\r\n{}\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n",
    "chunk shorter than its size": CHUNKED + b"3\r\n{}\r\n0\r\n\r\n",
    "chunk that ends with LF": CHUNKED + b"2\r\n{}\n0\r\n\r\n",
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "no end of trailers": CHUNKED + b"0\r\n",
    "trailer without a colon": CHUNKED + b"0\r\nA\r\n\r\n",
    "size of 21 digits": CHUNKED + b"%021x\r\n{}\r\n0\r\n\r\n" % 2,
}


def read_alike(read: Callable[[list[bytes]], Reading | None], data: bytes) -> Reading | None:
    """Return how `data` is read whole, which is how it is read octet by octet."""
    reading = read([data])
    assert read([data[i : i + 1] for i in range(len(data))]) == reading
    return reading


def canonical(reading: Reading | None) -> Reading | None:
    """Return a reading with its one coding in lower case, as h11 writes it."""
    if reading is None:
        return None
    coding = b"transfer-encoding"
    fields = tuple((name, v.lower() if name == coding else v) for name, v in reading.fields)
    return replace(reading, fields=fields)


@pytest.mark.parametrize("case", ACCEPTED)
def test_both_accept(case: str) -> None:
    reading = read_alike(by_ours, ACCEPTED[case])
    assert reading is not None
    assert canonical(reading) == read_alike(by_h11, ACCEPTED[case])


@pytest.mark.parametrize("case", REFUSED)
def test_both_refuse(case: str) -> None:
    assert read_alike(by_ours, REFUSED[case]) is None
    assert read_alike(by_h11, REFUSED[case]) is None


@pytest.mark.parametrize("reason", STRICTER)
def test_ours_alone_refuses(reason: str) -> None:
    applies, sample = STRICTER[reason]
    assert applies(sample)
    assert read_alike(by_ours, sample) is None
    assert by_h11([sample]) is not None


def compare(data: bytes, pieces: list[bytes]) -> None:
    """Compare the readings of `data`, whole, octet by octet and in `pieces`."""
    ours, theirs = canonical(read_alike(by_ours, data)), by_h11([data])
    assert canonical(by_ours(pieces)) == ours
    if ours is None:
        stricter = [name for name, (applies, _) in STRICTER.items() if applies(data)]
        assert theirs is None or stricter
    else:
        assert ours == theirs


TOKENS = st.text("!#$%&'*+-.^_`|~09azAZ", min_size=1, max_size=8).map(str.encode)
VALUES = st.text(" \tabcXYZ0,;=\"'()\xe4\xff", max_size=12).map(lambda v: v.encode("latin-1"))
BODIES = st.binary(max_size=40) | st.sampled_from([b"{}", b"0\r\n\r\n", b"\r\n", OK])
NAMES = st.sampled_from([b"Connection", b"Content-Type", b"Set-Cookie", b"Trailer"]) | TOKENS
OPTIONS = st.sampled_from([b"close", b"keep-alive", b"Close , x", b"upgrade"]) | VALUES


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return the field that frames a body, and the octets of the body in that frame."""
    body = draw(BODIES)
    kind = draw(st.sampled_from(["length", "chunked", "close"]))
    if kind == "length":
        return b"Content-Length: %d\r\n" % len(body), body
    if kind == "close":
        return b"", body
    size = draw(st.integers(1, 9))
    parts = [body[i : i + size] for i in range(0, len(body), size)] + [b""]
    extension = draw(st.sampled_from([b"", b";a", b";a=b"]))
    coded = [
        b"%x%b\r\n%b" % (len(part), extension, part + b"\r\n" if part else b"") for part in parts
    ]
    trailers = draw(st.sampled_from([b"", b"A: b\r\n"]))
    return b"Transfer-Encoding: chunked\r\n", b"".join(coded) + trailers + b"\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Return a well-formed response, perhaps with others before and octets after it."""
    before = draw(st.sampled_from([b"", CONTINUE, CONTINUE * 2]))
    status = draw(st.sampled_from([200, 204, 304, 400, 429, 503]))
    version = draw(st.sampled_from([b"1.1", b"1.1", b"1.0"]))
    frame, body = draw(framed())
    fields = [b"%b: %b\r\n" % (name, draw(OPTIONS)) for name in draw(st.lists(NAMES, max_size=3))]
    fields.insert(draw(st.integers(0, len(fields))), frame)
    line = b"HTTP/%b %d %b\r\n" % (version, status, draw(VALUES))
    return before + line + b"".join(fields) + b"\r\n" + body + draw(st.sampled_from([b"", b"x"]))


OCTETS = [bytes([octet]) for octet in b"\r\n \t:;,02f\0\x7f\xff"]
LINES = [b"\r\n", LENGTH, b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", CONTINUE, OK]
SPOILERS = st.sampled_from(OCTETS + LINES)
CHANGES = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 400), SPOILERS), max_size=3)


def changed(data: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """Return `data` with octets inserted (0), replaced (1) or removed (2)."""
    for kind, place, octets in changes:
        at = place % (len(data) + 1)
        data = data[:at] + (b"" if kind == 2 else octets) + data[at + (kind > 0) :]
    return data


CUTS = st.lists(st.integers(0, 400), max_size=4)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(bounds)]


@settings(max_examples=300)
@given(responses(), CUTS)
def test_well_formed_responses_are_read_alike(data: bytes, places: list[int]) -> None:
    compare(data, cut(data, places))


@settings(max_examples=1000)
@given(responses(), CHANGES, CUTS)
def test_changed_responses_are_read_alike(
    data: bytes, changes: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    data = changed(data, changes)
    compare(data, cut(data, places))


@settings(max_examples=300)
@given(st.sampled_from([*ACCEPTED.values(), *REFUSED.values()]), CHANGES, CUTS)
def test_changed_samples_are_read_alike(
    data: bytes, changes: list[tuple[int, int, bytes]], places: list[int]
) -> None:
    data = changed(data, changes)
    compare(data, cut(data, places))

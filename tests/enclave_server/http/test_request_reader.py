"""Requests without any socket: heads, bodies and what follows them, however they are split."""

import contextlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.http.limits import Limits
from enclave_server.http.request_head import Head, Refused
from enclave_server.http.request_reader import RequestReader
from tests.support.outer_requests import CHUNKED, GET, POST, WHOLE, read, status_of


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


def test_the_preface_of_http2() -> None:
    assert status_of(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == 400


def test_a_tls_hello_is_refused_at_once() -> None:
    assert status_of(b"\x16\x03\x01\x02\x00\x01\x00") == 400


def test_limits_of_the_body() -> None:
    assert read([WHOLE], Limits(body_bytes=5))
    assert status_of(WHOLE[:-5], Limits(body_bytes=4)) == 413
    assert read([CHUNKED], Limits(body_bytes=5))
    assert status_of(CHUNKED[:-15], Limits(body_bytes=4)) == 413
    assert status_of(POST + b"Content-Length: 99999999999999999999\r\n\r\n") == 413
    assert status_of(POST + b"Content-Length: 999999999999999999999\r\n\r\n") == 400


def test_what_was_looked_at_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a head that trickles costs the square of its size."""
    looked: list[int] = []

    class Looking:
        def search(self, buffer: bytearray, start: int) -> None:
            looked.append(len(buffer) - start)

    monkeypatch.setattr("enclave_server.http.request_reader.FORBIDDEN", Looking())
    reader = RequestReader(Limits())
    for at in range(len(GET) - 1):
        reader.feed(GET[at : at + 1])
        assert reader.next_event() is None
    assert max(looked) <= 3


@pytest.mark.parametrize("times", [1, 3])
def test_a_second_empty_line_is_refused_and_nobody_waits_for_more(times: int) -> None:
    """The first is passed over; what ends there has no request line."""
    reader = RequestReader(Limits())
    for _ in range(3 // times):
        reader.feed(b"\r\n" * times)
        if reader.held < 4 and times == 1:
            assert reader.next_event() is None
    with pytest.raises(Refused):
        reader.next_event()


@pytest.mark.parametrize("odd", [b"\0", b"\rX", b"\n", b"\r\n "])
@pytest.mark.parametrize("place", range(4))
def test_what_no_head_has_is_refused_when_it_is_whole(odd: bytes, place: int) -> None:
    """Wherever it was cut in two on its way."""
    reader = RequestReader(Limits())
    reader.feed(GET[:20] + odd[:place])
    if place < len(odd):
        assert reader.next_event() is None
        reader.feed(odd[place:])
    with pytest.raises(Refused):
        reader.next_event()

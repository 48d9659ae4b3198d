"""Requests as octets; h11 reads them as a server would."""

import h11
import pytest

from enclave_server.chat.upstream.request import encode_post

FIELDS = ((b"Host", b"there"), (b"Accept", b"text/event-stream"))


def test_a_server_reads_what_was_asked() -> None:
    server = h11.Connection(h11.SERVER)
    server.receive_data(encode_post(b"/v1/x?y=z", FIELDS, b"body\r\n"))
    request = server.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (b"POST", b"/v1/x?y=z")
    assert list(request.headers) == [
        (b"host", b"there"),
        (b"accept", b"text/event-stream"),
        (b"content-length", b"6"),
    ]
    body = server.next_event()
    assert isinstance(body, h11.Data)
    assert body.data == b"body\r\n"
    assert isinstance(server.next_event(), h11.EndOfMessage)


def test_empty_body_has_its_length_too() -> None:
    assert encode_post(b"/", FIELDS, b"").endswith(b"\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\0"])
@pytest.mark.parametrize("place", ["target", "name", "value"])
def test_whatever_would_end_a_line_is_refused(place: str, end: bytes) -> None:
    texts = dict.fromkeys(("target", "name", "value"), b"x") | {place: b"x%bX:y" % end}
    with pytest.raises(ValueError, match="line end"):
        encode_post(texts["target"], ((texts["name"], texts["value"]),), b"")


def test_target_that_ends_before_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match="space"):
        encode_post(b"/ HTTP/1.1", FIELDS, b"")

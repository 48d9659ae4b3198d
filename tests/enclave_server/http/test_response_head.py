"""Heads of responses."""

from http import HTTPStatus

import pytest

from enclave_server.http.response_head import PROCESSING, encode_head


def test_head_of_an_answer() -> None:
    fields = ((b"content-type", b"text/plain"), (b"content-length", b"0"))
    lines = (b"HTTP/1.1 404 Not Found", b"content-type: text/plain", b"content-length: 0")
    assert encode_head(404, fields) == b"\r\n".join([*lines, b"", b""])


@pytest.mark.parametrize("status", HTTPStatus)
def test_every_status_has_its_usual_words(status: HTTPStatus) -> None:
    assert encode_head(status, ()) == f"HTTP/1.1 {status.value} {status.phrase}\r\n\r\n".encode()


def test_the_interim_response() -> None:
    assert PROCESSING == b"HTTP/1.1 102 Processing\r\n\r\n"

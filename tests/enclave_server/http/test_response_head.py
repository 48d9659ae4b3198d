"""Heads of responses."""

from enclave_server.http.response_head import encode_head


def test_head_of_an_answer() -> None:
    fields = ((b"content-type", b"text/plain"), (b"content-length", b"0"))
    lines = (b"HTTP/1.1 404 Not Found", b"content-type: text/plain", b"content-length: 0")
    assert encode_head(404, fields) == b"\r\n".join([*lines, b"", b""])

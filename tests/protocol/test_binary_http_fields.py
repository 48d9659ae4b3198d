"""Control data and fields: what could stand in an HTTP/2 message, and nothing else."""

import pytest

from protocol.binary_http import (
    Informational,
    Request,
    Response,
    ResponseHead,
    decode_request,
    encode_request,
    field_value,
)


def test_names_are_sent_in_lower_case_and_found_in_any() -> None:
    request = Request(b"GET", b"https", b"", b"/", ((b"Content-Type", b"a"), (b"date", b"b")))
    sent = decode_request(encode_request(request))
    assert sent.headers == ((b"content-type", b"a"), (b"date", b"b"))
    assert field_value(request.headers, b"content-type") == b"a"
    assert field_value(request.headers, b"absent") is None


@pytest.mark.parametrize(
    "line",
    [
        (b"", b"x"),
        (b"a b", b"x"),
        (b"a\n", b"x"),
        (b"a:", b"x"),
        (b"\xc3\xa9", b"x"),
        (b"a", b"x\r\ny"),
        (b"a", b"x\n"),
        (b"a", b"x\0"),
        (b"a", b" x"),
        (b"a", b"x\t"),
        (b":status", b"200"),
        (b":Path", b"/"),
    ],
)
def test_field_lines_that_are_refused(line: tuple[bytes, bytes]) -> None:
    for build in (
        lambda: Response(200, (line,)),
        lambda: Request(b"GET", b"https", b"", b"/", (line,)),
        lambda: Informational(102, (line,)),
        lambda: Response(200, trailers=(line,)),
    ):
        with pytest.raises(ValueError, match="field"):
            build()


def test_control_data() -> None:
    assert Request(b"CONNECT", b"", b"example.com:443", b"")
    assert Request(b"OPTIONS", b"https", b"", b"*")
    for control in (
        (b"", b"https", b"", b"/"),
        (b"GET", b"", b"", b"/"),
        (b"GET", b"1ttps", b"", b"/"),
        (b"GET", b"https", b"a b", b"/"),
        (b"GET", b"https", b"", b"/\xff"),
        (b"CONNECT", b"", b"", b""),
    ):
        with pytest.raises(ValueError, match="control data"):
            Request(*control)


@pytest.mark.parametrize("status", [0, 99, 100, 199, 600])
def test_final_statuses(status: int) -> None:
    for build in (Response, ResponseHead):
        with pytest.raises(ValueError, match="status"):
            build(status)


@pytest.mark.parametrize("status", [99, 200])
def test_informational_statuses(status: int) -> None:
    with pytest.raises(ValueError, match="status"):
        Informational(status)

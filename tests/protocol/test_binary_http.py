"""Binary HTTP against the examples of RFC 9292 and the messages of other projects."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest

from protocol import varint
from protocol.binary_http import (
    MAX_CHUNKS,
    MAX_FIELDS,
    MAX_SECTION_SIZE,
    Event,
    Fields,
    Informational,
    Request,
    Response,
    ResponseDecoder,
    ResponseHead,
    Trailers,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from protocol.errors import MalformedMessage, ProtocolError
from tests.support.vector_files import load

CASES = load("binary-http.json")["cases"]

# The two cases without a verdict:
# - a field name in upper case is legal in RFC 9110, Section 5.1, which RFC 9292, Section 3.6,
#   refers to: accepted, kept as it came, and encoded in lower case;
# - RFC 9292, Section 3.4, applies the rules of HTTP/2, where the path of an http or https URI
#   "MUST NOT be empty" (RFC 9113, Section 8.3.1): refused.
UNDECIDED = {"netty-uppercase-name": True, "ohttp-go-control-empty-path": False}

VALID = [case for case in CASES if UNDECIDED.get(case["id"], case["valid"])]
INVALID = [case for case in CASES if not UNDECIDED.get(case["id"], case["valid"])]
RESPONSES = [case for case in VALID if case["expected"]["kind"] == "response"]

Message = Request | Response


def decode(data: bytes) -> Message:
    """Decode `data` as what its framing indicator says."""
    is_response = bool(data) and varint.decode(data, 0)[0] in (1, 3)
    return decode_response(data) if is_response else decode_request(data)


def encode(message: Message) -> bytes:
    return encode_request(message) if isinstance(message, Request) else encode_response(message)


def fields(expected: Iterable[list[str]]) -> Fields:
    return tuple((name.encode(), value.encode()) for name, value in expected)


def expected_message(case: dict[str, Any]) -> Message:
    wanted = case["expected"]
    headers, trailers = fields(wanted["headers"]), fields(wanted["trailers"])
    content = bytes.fromhex(wanted["content"])
    if wanted["kind"] == "request":
        method, scheme = wanted["method"].encode(), wanted["scheme"].encode()
        authority, path = wanted["authority"].encode(), wanted["path"].encode()
        return Request(method, scheme, authority, path, headers, content, trailers)
    interim = (Informational(i["status"], fields(i["headers"])) for i in wanted["informational"])
    return Response(wanted["status"], headers, content, trailers, tuple(interim))


def decode_in_pieces(pieces: Iterable[bytes]) -> Response:
    decoder = ResponseDecoder()
    return assemble([event for data in pieces for event in decoder.feed(data)] + decoder.finish())


def assemble(events: list[Event]) -> Response:
    order = [type(event) for event in events]
    interim = [event for event in events if isinstance(event, Informational)]
    (head,) = (event for event in events if isinstance(event, ResponseHead))
    content = [event for event in events if isinstance(event, bytes)]
    trailers = [event for event in events if isinstance(event, Trailers)]
    assert all(content)
    assert len(trailers) <= 1
    assert order == (
        [Informational] * len(interim)
        + [ResponseHead]
        + [bytes] * len(content)
        + [Trailers] * len(trailers)
    )
    last = trailers[0].fields if trailers else ()
    return Response(head.status, head.headers, b"".join(content), last, tuple(interim))


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


def test_every_vector_is_run() -> None:
    assert {case["id"] for case in CASES if case["valid"] is None} == set(UNDECIDED)
    assert (len(VALID), len(INVALID)) == (53, 59)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_decodes(case: dict[str, Any]) -> None:
    assert decode(bytes.fromhex(case["hex"])) == expected_message(case)


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case["id"])
def test_decodes_byte_by_byte(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert decode_in_pieces(single_bytes(data)) == expected_message(case)
    for cut in range(len(data)):
        assert decode_in_pieces([data[:cut], data[cut:]]) == expected_message(case)


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case["id"])
def test_refuses(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    for decode_either in (decode_request, decode_response):
        with pytest.raises(ProtocolError):
            decode_either(data)
    with pytest.raises(ProtocolError):
        decode_in_pieces(single_bytes(data))


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_what_is_encoded_is_decoded(case: dict[str, Any]) -> None:
    """Known-length encoding gives back the same bytes where the case is that, and is not cut."""
    message = expected_message(case)
    encoded = encode(message)
    assert lower(decode(encoded)) == lower(message)
    data = bytes.fromhex(case["hex"])
    if case["expected"]["length"] == "known" and lower(message) == message:
        assert encoded.rstrip(b"\0") == data.rstrip(b"\0")


def lower(message: Message) -> Message:
    headers = tuple((name.lower(), value) for name, value in message.headers)
    if isinstance(message, Response):
        rest = (message.content, message.trailers, message.informational)
        return Response(message.status, headers, *rest)
    control = (message.method, message.scheme, message.authority, message.path)
    return Request(*control, headers, message.content, message.trailers)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case["id"])
def test_every_cut_is_invalid_or_a_legal_truncation(case: dict[str, Any]) -> None:
    """What decodes although its end is missing lacks whole sections, never a part of one."""
    data = bytes.fromhex(case["hex"])
    message = decode(data)
    for cut in range(len(data)):
        try:
            truncated = decode(data[:cut])
        except ProtocolError:
            if cut and varint.decode(data, 0)[0] in (1, 3):
                with pytest.raises(ProtocolError):
                    decode_in_pieces(single_bytes(data[:cut]))
            continue
        # A cut between sections cannot be told from a message that ends there (RFC 9292,
        # Section 3.8); whoever must tell them apart needs the final mark of encapsulation.
        assert decode(encode(truncated)) == lower(truncated)
        assert is_beginning(truncated, message)
        if not any(data[cut:]):
            assert truncated == message


def is_beginning(truncated: Message, message: Message) -> bool:
    """Whether `truncated` is `message` without its last sections."""
    if isinstance(truncated, Request) and isinstance(message, Request):
        same = (truncated.method, truncated.path) == (message.method, message.path)
    elif isinstance(truncated, Response) and isinstance(message, Response):
        same = truncated.status == message.status
        same = same and truncated.informational == message.informational
    else:
        return False
    sections = [
        (truncated.headers, message.headers),
        (truncated.content, message.content),
        (truncated.trailers, message.trailers),
    ]
    absent = [bool(had) and not got for got, had in sections]
    rest = list(itertools.dropwhile(lambda is_absent: not is_absent, absent))
    kept = sections[: len(sections) - len(rest)]
    return (
        same
        and all(got == had for got, had in kept)
        and not any(got for got, _ in sections[len(kept) :])
    )


class TestLimits:
    """No peer makes us keep endless fields."""

    @pytest.mark.parametrize("framing", [1, 3])
    def test_too_many_fields(self, framing: int) -> None:
        line = b"\x01a\x01b"
        for count, fits in ((MAX_FIELDS, True), (MAX_FIELDS + 1, False)):
            section = line * count
            start = bytes([framing]) + b"\x40\xc8"
            data = start + (
                varint.encode(len(section)) + section if framing == 1 else section + b"\0"
            )
            if fits:
                assert len(decode_response(data).headers) == count
                continue
            with pytest.raises(MalformedMessage):
                decode_response(data)
            with pytest.raises(MalformedMessage):
                decode_in_pieces(single_bytes(data))

    @pytest.mark.parametrize("framing", [1, 3])
    def test_too_long_sections_are_refused_before_they_are_there(self, framing: int) -> None:
        start = bytes([framing]) + b"\x40\xc8"
        name = varint.encode(MAX_SECTION_SIZE + 1)
        with pytest.raises(MalformedMessage):
            ResponseDecoder().feed(start + name)
        if framing == 3:
            with pytest.raises(MalformedMessage):
                ResponseDecoder().feed(start + b"\x01a" + name)

    def test_requests_have_the_same_limits(self) -> None:
        start = b"\x02\x03GET\x05https\x00\x01/"
        with pytest.raises(MalformedMessage):
            decode_request(start + b"\x01a\x01b" * (MAX_FIELDS + 1) + b"\0")
        long_line = b"\x01a" + varint.encode(MAX_SECTION_SIZE // 2) + b"b" * (MAX_SECTION_SIZE // 2)
        with pytest.raises(MalformedMessage):
            decode_request(start + long_line * 3 + b"\0")

    def test_requests_have_a_limited_number_of_chunks(self) -> None:
        start = b"\x02\x03GET\x05https\x00\x01/\0"
        content = decode_request(start + b"\x01a" * MAX_CHUNKS + b"\0\0").content
        assert len(content) == MAX_CHUNKS
        with pytest.raises(MalformedMessage):
            decode_request(start + b"\x01a" * (MAX_CHUNKS + 1) + b"\0\0")


def test_padding() -> None:
    request = Request(b"POST", b"https", b"", b"/", content=b"x")
    assert len(encode_request(request)) < 100
    padded = encode_request(request, pad_to=1024)
    assert len(padded) == 1024
    assert decode_request(padded) == request
    assert encode_request(request, pad_to=3) == encode_request(request)
    response = Response(200, content=b"x")
    padded = encode_response(response, pad_to=1024)
    assert len(padded) == 1024
    assert decode_response(padded) == response
    for data in (padded[:-1] + b"\1", encode_response(response) + b"\1"):
        with pytest.raises(MalformedMessage):
            decode_response(data)
        with pytest.raises(MalformedMessage):
            decode_in_pieces(single_bytes(data))

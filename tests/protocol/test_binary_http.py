"""Binary HTTP against the examples of RFC 9292 and the messages of other projects."""

import itertools
from collections.abc import Callable, Iterable
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
    ResponseEncoder,
    ResponseHead,
    Trailers,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    field_value,
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


HEAD = ((b"content-type", b"text/plain"),)


class TestResponseEncoder:
    """What is written in pieces is read whole and in pieces."""

    def written(self) -> bytes:
        encoder = ResponseEncoder()
        return b"".join(
            [
                encoder.informational(102, ((b"a", b"b"),)),
                encoder.informational(103),
                encoder.start(200, HEAD),
                encoder.content(b"one"),
                encoder.content(b""),
                encoder.content(bytes(20_000)),
                encoder.finish(((b"x", b"y"),)),
            ]
        )

    def test_round_trip(self) -> None:
        interim = (Informational(102, ((b"a", b"b"),)), Informational(103))
        expected = Response(200, HEAD, b"one" + bytes(20_000), ((b"x", b"y"),), interim)
        data = self.written()
        assert decode_response(data) == expected
        assert decode_response(data + bytes(100)) == expected
        assert decode_in_pieces(single_bytes(data + bytes(3))) == expected

    def test_content_comes_at_once(self) -> None:
        encoder, decoder = ResponseEncoder(), ResponseDecoder()
        assert decoder.feed(encoder.start(200)) == [ResponseHead(200)]
        assert decoder.feed(encoder.content(b"one")) == [b"one"]
        half = encoder.content(b"a half and another")
        assert decoder.feed(half[:7]) == [b"a half"]
        assert decoder.feed(half[7:] + encoder.finish()) == [b" and another"]
        assert decoder.finish() == []

    def test_content_without_its_end_is_refused(self) -> None:
        data = self.written()
        content_end = len(data) - len(b"\x01x\x01y\0")
        for cut in range(data.index(b"\x03one") + 1, content_end):
            with pytest.raises(MalformedMessage):
                decode_response(data[:cut])
        assert decode_response(data[:content_end]).trailers == ()

    def test_order(self) -> None:
        encoder = ResponseEncoder()
        body: list[Callable[[], bytes]] = [lambda: encoder.content(b"x"), encoder.finish]
        heads: list[Callable[[], bytes]] = [
            lambda: encoder.start(200),
            lambda: encoder.informational(102),
        ]
        refuse_all(body)
        encoder.start(204)
        refuse_all(heads)
        encoder.finish()
        refuse_all(heads + body)


def refuse_all(misuses: list[Callable[[], bytes]]) -> None:
    for misuse in misuses:
        with pytest.raises(ValueError, match="out of order"):
            misuse()


class TestResponseDecoder:
    """Beyond the vectors."""

    def test_stays_failed(self) -> None:
        decoder = ResponseDecoder()
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\x00")
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\x01\x40\xc8")
        with pytest.raises(MalformedMessage):
            decoder.finish()

    def test_nothing_comes_after_the_end(self) -> None:
        decoder = ResponseDecoder()
        assert decoder.feed(b"\x01\x40\xc8") == []
        assert decoder.finish() == [ResponseHead(200)]
        with pytest.raises(MalformedMessage):
            decoder.feed(b"\0")

    def test_keeps_no_content(self) -> None:
        decoder = ResponseDecoder()
        decoder.feed(b"\x01\x40\xc8\0" + varint.encode(1 << 40))
        for _ in range(10):
            assert decoder.feed(bytes(1000)) == [bytes(1000)]
        assert not decoder._buffer


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

"""Binary HTTP messages, whole (RFC 9292); `protocol.binary_http_stream` has them in pieces."""

from dataclasses import dataclass

from protocol import varint
from protocol.binary_http_fields import (
    MAX_FIELDS,
    MAX_SECTION_SIZE,
    Fields,
    Framing,
    Informational,
    check_final_status,
    check_headers,
    check_request_control,
    check_section_size,
    check_trailers,
    decode_line,
    decode_section,
    decode_text,
    encode_fields,
    field_value,
)
from protocol.binary_http_stream import (
    Event,
    ResponseDecoder,
    ResponseEncoder,
    ResponseHead,
    Trailers,
)
from protocol.errors import MalformedMessage

__all__ = [
    "MAX_CHUNKS",
    "MAX_FIELDS",
    "MAX_SECTION_SIZE",
    "Event",
    "Fields",
    "Informational",
    "Request",
    "Response",
    "ResponseDecoder",
    "ResponseEncoder",
    "ResponseHead",
    "Trailers",
    "decode_request",
    "decode_response",
    "encode_request",
    "encode_response",
    "field_value",
]

MAX_CHUNKS = 1 << 14
"""Chunks in the content of one request: each costs time and memory, however small it is."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request; fields keep the order and the case in which they came."""

    method: bytes
    scheme: bytes
    authority: bytes
    path: bytes
    headers: Fields = ()
    content: bytes = b""
    trailers: Fields = ()

    def __post_init__(self) -> None:
        check_request_control(self.method, self.scheme, self.authority, self.path)
        check_headers(self.headers)
        check_trailers(self.trailers)


@dataclass(frozen=True, slots=True)
class Response:
    """A final response, with the interim ones that came before it."""

    status: int
    headers: Fields = ()
    content: bytes = b""
    trailers: Fields = ()
    informational: tuple[Informational, ...] = ()

    def __post_init__(self) -> None:
        check_final_status(self.status)
        check_headers(self.headers)
        check_trailers(self.trailers)


def encode_request(request: Request, *, pad_to: int = 0) -> bytes:
    """Return a known-length request, with zeros after it up to `pad_to` bytes in all."""
    control = (request.method, request.scheme, request.authority, request.path)
    message = b"".join(
        (
            varint.encode(Framing.KNOWN_LENGTH_REQUEST),
            *(_prefixed(text) for text in control),
            _prefixed(encode_fields(request.headers)),
            _prefixed(request.content),
            _prefixed(encode_fields(request.trailers)),
        )
    )
    return message.ljust(pad_to, b"\0")


def encode_response(response: Response, *, pad_to: int = 0) -> bytes:
    """Return a known-length response, with zeros after it up to `pad_to` bytes in all."""
    message = b"".join(
        (
            varint.encode(Framing.KNOWN_LENGTH_RESPONSE),
            *(_encode_head(interim.status, interim.headers) for interim in response.informational),
            _encode_head(response.status, response.headers),
            varint.encode(len(response.content)),
            response.content,
            _prefixed(encode_fields(response.trailers)),
        )
    )
    return message.ljust(pad_to, b"\0")


def decode_request(data: bytes) -> Request:
    """Return the request, of either form, that `data` is; MalformedMessage if it is not one."""
    framing, offset = varint.decode(data, 0)
    if framing not in (Framing.KNOWN_LENGTH_REQUEST, Framing.INDETERMINATE_LENGTH_REQUEST):
        raise MalformedMessage("framing indicator")
    method, offset = decode_text(data, offset)
    scheme, offset = decode_text(data, offset)
    authority, offset = decode_text(data, offset)
    path, offset = decode_text(data, offset)
    decode_rest = _decode_known if framing == Framing.KNOWN_LENGTH_REQUEST else _decode_open_ended
    headers, content, trailers = decode_rest(data, offset)
    try:
        return Request(method, scheme, authority, path, headers, content, trailers)
    except ValueError:
        raise MalformedMessage("request") from None


def decode_response(data: bytes) -> Response:
    """Return the response, of either form, that `data` is; MalformedMessage if it is not one."""
    decoder = ResponseDecoder()
    events = decoder.feed(data) + decoder.finish()
    head = next(event for event in events if isinstance(event, ResponseHead))
    return Response(
        head.status,
        head.headers,
        b"".join(event for event in events if isinstance(event, bytes)),
        next((event.fields for event in events if isinstance(event, Trailers)), ()),
        tuple(event for event in events if isinstance(event, Informational)),
    )


def _prefixed(text: bytes) -> bytes:
    return varint.encode(len(text)) + text


def _encode_head(status: int, headers: Fields) -> bytes:
    return varint.encode(status) + _prefixed(encode_fields(headers))


def _decode_known(data: bytes, offset: int) -> tuple[Fields, bytes, Fields]:
    # RFC 9292, Section 3.8: "Decoders MUST treat missing truncated fields as equivalent to
    # having been sent with the length field set to zero." A header section may be missing too:
    # Section 3.1 allows truncation "before any of the length prefixes", and the example of
    # RFC 9458, Appendix A, relies on it.
    headers: Fields = ()
    content = b""
    trailers: Fields = ()
    if offset < len(data):
        headers, offset = decode_section(data, offset)
    if offset < len(data):
        content, offset = decode_text(data, offset)
    if offset < len(data):
        trailers, offset = decode_section(data, offset)
    _check_padding(data, offset)
    return headers, content, trailers


def _decode_open_ended(data: bytes, offset: int) -> tuple[Fields, bytes, Fields]:
    headers, offset = _decode_lines(data, offset)
    content, offset = _decode_chunks(data, offset) if offset < len(data) else (b"", offset)
    trailers, offset = _decode_lines(data, offset) if offset < len(data) else ((), offset)
    _check_padding(data, offset)
    return headers, content, trailers


def _decode_lines(data: bytes, offset: int) -> tuple[Fields, int]:
    lines: list[tuple[bytes, bytes]] = []
    start = offset
    while True:
        line, offset = decode_line(data, offset)
        if line is None:
            return tuple(lines), offset
        lines.append(line)
        check_section_size(len(lines), offset - start)


def _decode_chunks(data: bytes, offset: int) -> tuple[bytes, int]:
    chunks: list[bytes] = []
    while len(chunks) <= MAX_CHUNKS:
        chunk, offset = decode_text(data, offset)
        if not chunk:
            return b"".join(chunks), offset
        chunks.append(chunk)
    raise MalformedMessage("too many chunks")


def _check_padding(data: bytes, offset: int) -> None:
    # RFC 9292, Section 3.8: "Non-zero padding bytes cause a message to be invalid".
    if not data.endswith(bytes(len(data) - offset), offset):
        raise MalformedMessage("padding")

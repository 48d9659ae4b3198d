"""Heads of requests on the wire (RFC 9112, Sections 2 to 6), without I/O.

Two regular expressions read what relays send. They take only what is plain; h11 reads any other
head, made strict by checks before and after it, because what two parsers in a row read differently
can smuggle a request: between relay, front and enclave there are three of them. Where RFC 9112
lets a server choose, this one refuses. The tests hold both readings to the same results.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

import h11

from enclave_server.http.limits import Limits
from enclave_server.http.messages import Headers, OuterRequest
from protocol.errors import ProtocolError


class Refused(ProtocolError):
    """The request gets `status`, and the connection ends: what follows cannot be trusted."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


# Never part of a head: controls, bare CR and bare LF (RFC 9112, Section 2.2), and line folding
# (Section 5.2). A CR at the very end may still get its LF.
FORBIDDEN = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n|\Z)|(?<!\r)\n|\r\n[ \t]"
)  # fmt: skip

# RFC 3986, Section 3. Possessive repeats keep the match linear in the length of the target.
_PCHAR = rb"A-Za-z0-9._~!$&'()*+,;=:@/-"
_PATH = rb"/(?:[%b]++|%%[0-9A-Fa-f]{2})*+" % _PCHAR
_QUERY = rb"(?:[?%b]++|%%[0-9A-Fa-f]{2})*+" % _PCHAR
_AUTHORITY = rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?"
_HOST = re.compile(_AUTHORITY)
_TARGET = re.compile(
    rb"(?:(?P<path>%b)|(?i:https?)://%b(?P<absolute>%b)?)(?:\?(?P<query>%b))?"
    % (_PATH, _AUTHORITY, _PATH, _QUERY)
)

# Lines that are plain: no white space at the end of a value, a target that is a path. Each match
# ends where the next line begins, so as many matches as lines leave no octet unread.
_NAME = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]++"
_REQUEST_LINE = re.compile(
    rb"(?!CONNECT )(%b) (%b)(?:\?(%b))? HTTP/(1\.[01])(?=\r\n)" % (_NAME, _PATH, _QUERY)
)
_FIELD_LINE = re.compile(rb"\r\n(%b):[ \t]*+([\t -~\x80-\xff]*+)(?<![\t ])(?=\r\n)" % _NAME)

# h11 merges equal lengths and lists of them; this is the only form that all parsers read alike.
_LENGTH_LINE = re.compile(rb"\r\ncontent-length:[ \t]*[0-9]+[ \t]*\r\n", re.IGNORECASE)

# Gateways that map names to variables cannot tell these from the fields that frame a message.
_LOOKALIKES = frozenset({b"content_length", b"transfer_encoding"})

_FRAMING = frozenset(
    {b"content-length", b"transfer-encoding", b"connection", b"expect", b"host"} | _LOOKALIKES
)

_PLAIN_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host"})

# The same limit as h11's; what is longer names more octets than anybody has.
_LENGTH_DIGITS = 20

_VERSIONS = frozenset({b"1.0", b"1.1"})


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request that is framed beyond doubt."""

    request: OuterRequest  # without its body
    version: bytes  # b"1.0" or b"1.1"
    keep_alive: bool
    length: int | None  # octets of the body, None if it comes in chunks


def parse_head(data: bytes, limits: Limits) -> Head:
    """Return the head that `data` is, from request line to empty line; raise Refused."""
    lines = data.count(b"\r\n") - 2
    if lines > limits.head_fields:
        raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
    head = parse_plain(data, lines) or parse_any(data, lines)
    if len(head.request.path) + len(head.request.query) > limits.target_bytes:
        raise Refused(HTTPStatus.REQUEST_URI_TOO_LONG)
    if head.length is not None and head.length > limits.body_bytes:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return head


def parse_plain(data: bytes, lines: int) -> Head | None:
    """Return the head with so many field lines, or None if `parse_any` has to look at it."""
    start = _REQUEST_LINE.match(data)
    if start is None:
        return None
    found = _FIELD_LINE.findall(data, start.end())
    if len(found) != lines:
        return None
    headers = tuple([(name.lower(), value) for name, value in found])
    framing = [field for field in headers if field[0] in _FRAMING]
    fields = dict(framing)
    method, path, query, version = start.groups(b"")
    if len(fields) != len(framing) or not _is_plain(fields, version):
        return None
    request = OuterRequest(method, path, query, headers)
    return Head(request, version, _keep_alive(fields, version), _body_length(fields))


def _is_plain(fields: dict[bytes, bytes], version: bytes) -> bool:
    """Whether these fields, each of which came once, frame a message in the one usual way."""
    host = fields.get(b"host")
    if host is None or _HOST.fullmatch(host) is None or not fields.keys() <= _PLAIN_FRAMING:
        return False
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if coding is not None:
        return coding == b"chunked" and length is None and version == b"1.1"
    return length is None or (length.isdigit() and len(length) <= _LENGTH_DIGITS)


def parse_any(data: bytes, lines: int) -> Head:
    """Return the head with so many field lines, whatever its form; raise Refused."""
    event = _read_event(data)
    headers: Headers = tuple(event.headers)
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _FRAMING:
            if name in fields and name != b"connection":
                raise Refused(HTTPStatus.BAD_REQUEST)
            fields[name] = fields[name] + b"," + value if name in fields else value
    # h11 drops a Content-Length that repeats another.
    if len(headers) != lines:
        raise Refused(HTTPStatus.BAD_REQUEST)
    _check_fields(fields, event.http_version)
    path, query = _split_target(event.method, event.target)
    _check_framing(fields, event.http_version, data)
    return Head(
        OuterRequest(event.method, path, query, headers),
        event.http_version,
        _keep_alive(fields, event.http_version),
        _body_length(fields),
    )


def _read_event(data: bytes) -> h11.Request:
    """Let h11 check the grammar of request line and fields."""
    if FORBIDDEN.search(data):
        raise Refused(HTTPStatus.BAD_REQUEST)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=len(data))
    connection.receive_data(data)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        raise Refused(HTTPStatus.BAD_REQUEST) from None
    if not isinstance(event, h11.Request) or event.http_version not in _VERSIONS:
        raise Refused(HTTPStatus.BAD_REQUEST)
    return event


def _check_fields(fields: dict[bytes, bytes], version: bytes) -> None:
    if not _LOOKALIKES.isdisjoint(fields):
        raise Refused(HTTPStatus.BAD_REQUEST)
    # RFC 9112, Section 3.2: a server MUST respond with 400 to an invalid Host field value.
    if _HOST.fullmatch(fields.get(b"host", b"")) is None:
        raise Refused(HTTPStatus.BAD_REQUEST)
    expectation = fields.get(b"expect")
    # RFC 9110, Section 10.1.1: a 100-continue in an HTTP/1.0 request MUST be ignored.
    if expectation is None or (version == b"1.0" and expectation.lower() == b"100-continue"):
        return
    raise Refused(HTTPStatus.EXPECTATION_FAILED)


def _split_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return path and query of the request target (RFC 9112, Section 3.2)."""
    if target == b"*" and method == b"OPTIONS":
        return target, b""
    match = _TARGET.fullmatch(target)
    if match is None or method == b"CONNECT":
        raise Refused(HTTPStatus.BAD_REQUEST)
    return match["path"] or match["absolute"] or b"/", match["query"] or b""


def _keep_alive(fields: dict[bytes, bytes], version: bytes) -> bool:
    options = fields.get(b"connection")
    if options is None or version != b"1.1":
        return version == b"1.1"
    return b"close" not in [option.strip(b" \t") for option in options.lower().split(b",")]


def _check_framing(fields: dict[bytes, bytes], version: bytes, data: bytes) -> None:
    length = fields.get(b"content-length")
    if b"transfer-encoding" in fields:
        # h11 has made sure that it is `chunked` and nothing else.
        if length is not None or version == b"1.0":
            raise Refused(HTTPStatus.BAD_REQUEST)
    elif length is not None and _LENGTH_LINE.search(data) is None:
        raise Refused(HTTPStatus.BAD_REQUEST)


def _body_length(fields: dict[bytes, bytes]) -> int | None:
    """Return the length of the body, None for chunks (RFC 9112, Section 6.3)."""
    return None if b"transfer-encoding" in fields else int(fields.get(b"content-length", b"0"))

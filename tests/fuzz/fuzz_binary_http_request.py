"""Binary HTTP requests, of known and of indeterminate length: what is read is written and read."""

from protocol import binary_http
from protocol.binary_http import Request
from protocol.errors import MalformedMessage
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Refused, attempt
from tests.support.vector_files import load

FAULTS = (
    slips("protocol.binary_http.decode_request", MalformedMessage),
    slips("protocol.binary_http.decode_line", MalformedMessage),
    returns("protocol.binary_http.encode_request", lambda data: data + b"\x01"),
)


def seeds() -> list[bytes]:
    """Return the published requests."""
    cases = [bytes.fromhex(case["hex"]) for case in load("binary-http.json")["cases"]]
    return [case for case in cases if case[:1] in (b"\0", b"\2")]


def run(data: bytes) -> None:
    """Read, write and read again; padding of zeros changes nothing."""
    found = attempt(binary_http.decode_request, data)
    if isinstance(found, Refused):
        return
    written = binary_http.encode_request(found)
    again = binary_http.decode_request(written)
    assert again == _lowered(found)
    assert binary_http.encode_request(again) == written
    assert binary_http.decode_request(written + bytes(9)) == again
    # Nothing that is cut off the end can add to what is said.
    for end in range(max(0, len(written) - 16), len(written)):
        cut = attempt(binary_http.decode_request, written[:end])
        assert isinstance(cut, Refused) or cut.headers in ((), again.headers)


def _lowered(request: Request) -> Request:
    headers, trailers = (
        tuple((name.lower(), value) for name, value in fields)
        for fields in (request.headers, request.trailers)
    )
    control = (request.method, request.scheme, request.authority, request.path)
    return Request(*control, headers, request.content, trailers)

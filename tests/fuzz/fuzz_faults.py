"""Errors of upstreams: whatever their body is, the client gets an error of ours, none of its words.

The first two octets are the status, the third says how many octets Retry-After has.
"""

import json

from enclave_server.chat.dialects.openai_chat import faults
from enclave_server.chat.errors import Failure, UpstreamError
from tests.fuzz.faults import fails, returns
from tests.fuzz.reading import Octets

OURS = {failure.value[3] for failure in Failure}

FAULTS = (
    fails("enclave_server.chat.dialects.openai_chat.faults.failure_of"),
    returns("enclave_server.chat.dialects.openai_chat.faults.failure_of", lambda failure: None),
    returns("enclave_server.chat.dialects.openai_chat.faults.retry_after", lambda found: -1),
)


def seeds() -> list[bytes]:
    """Return the errors that upstreams are known to send."""
    bodies = [
        b'{"error":{"message":"x","type":"insufficient_quota","param":"temperature","code":null}}',
        b'{"error":{"message":"context length","code":429}}',
        b'{"error":{"param":"organization"}}',
        b"<html>",
        b"",
    ]
    statuses = (400, 401, 408, 413, 422, 429, 500, 503, 529)
    return [
        status.to_bytes(2, "big") + b"\x0230" + body for status in statuses for body in bodies
    ] + [(429).to_bytes(2, "big") + b"\x0599999" + bodies[0]]


def run(data: bytes) -> None:
    """Read an error in place of an answer, and amid a stream."""
    octets = Octets(data)
    status, seconds, body = octets.number(2), octets.piece(), octets.rest()
    found = faults.fault_in_answer(status, ((b"retry-after", seconds),), body)
    for error in (found, faults.fault_in_stream(body)):
        _check(error)


def _check(error: UpstreamError) -> None:
    said = json.loads(error.response().content)["error"]
    assert said["message"] in OURS
    assert said["param"] is None or said["param"] in faults.BLAMABLE
    for name, value in error.fields:
        assert name == b"retry-after"
        assert 0 <= int(value) <= 86400

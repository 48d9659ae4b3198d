"""CBOR: what the strict reader takes, cbor2 reads alike, and writes as short."""

import cbor2

from protocol import cbor
from protocol.errors import MalformedMessage
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.protocol.test_cbor import ACCEPTED
from tests.protocol.test_cbor import REFUSED as ILL_FORMED

FAULTS = (
    slips("protocol.cbor._Reader.take", MalformedMessage),
    slips("protocol.cbor._text", MalformedMessage),
    returns("protocol.cbor._Reader.argument", lambda value: value + 1),
    replaced("protocol.cbor.BREAK", 0xFE),
)


def seeds() -> list[bytes]:
    """Return what is accepted and what is refused."""
    return [bytes.fromhex(each) for each in (*ACCEPTED, *ILL_FORMED)]


def run(data: bytes) -> None:
    """Compare with cbor2; nothing more and nothing less of an item is one."""
    found = attempt(cbor.decode, data)
    if isinstance(found, Refused):
        return
    assert cbor2.loads(data) == found
    _check_types(cbor2.loads(data), found)
    written = cbor2.dumps(found)
    # All but indefinite lengths, which end in a break, is written in the one shortest form.
    assert written == data or (b"\xff" in data and len(written) <= len(data) + 8)
    assert cbor.decode(written) == found
    assert attempt(cbor.decode, data[:-1]) is REFUSED
    assert attempt(cbor.decode, data + b"\0") is REFUSED


def _check_types(theirs: object, ours: object) -> None:
    """True is 1 to Python, and is not to anybody else."""
    assert type(theirs) is type(ours)
    if isinstance(theirs, list) and isinstance(ours, list):
        for pair in zip(theirs, ours, strict=True):
            _check_types(*pair)
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for pair in zip(theirs.items(), ours.items(), strict=True):
            _check_types(list(pair[0]), list(pair[1]))

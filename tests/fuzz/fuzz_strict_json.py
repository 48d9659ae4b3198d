"""JSON: what both strict readers take, two lenient ones read alike; what is read can be written."""

import json

import msgspec

from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import MAX_DEPTH, parse_object
from protocol import strict_json
from protocol.errors import MalformedMessage
from tests.enclave_server.chat.test_strict_json import BROKEN_JSON
from tests.fuzz.faults import replaced, slips
from tests.fuzz.reading import Attempt, Refused, attempt

MAX_BYTES = 4096
DEEPEST = strict_json.MAX_DEPTH
attempt_request = Attempt(ChatError)

FAULTS = (
    replaced("protocol.strict_json.MAX_DEPTH", 10**6),
    slips("protocol.strict_json.decode_object", MalformedMessage),
    slips("enclave_server.chat.strict_json._check_structure", ChatError),
    replaced("protocol.strict_json._refuse_lone_surrogates", lambda value: None),
)


def seeds() -> list[bytes]:
    """Return broken texts, sound ones, and some that nest as deep as an interpreter goes."""
    broken = [each if isinstance(each, bytes) else each.encode() for each in BROKEN_JSON.values()]
    sound = [
        b'{"a": [1, -2.5e3, true, null, "\\ud83d\\ude00\\n", {"b": "\xc3\xbc"}]}',
        b"{}",
        b"[]",
    ]
    odd = [b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b'{"a":' + b"9" * 20 + b"}", b'{"a":1e999}']
    depths = (*range(62, 67), *range(98, 104), *range(920, 1000, 2))
    deep = [b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in depths]
    paired = [text.replace(b"[]", b'["\\ud83d\\ude00"]') for text in deep]
    return [*broken, *sound, *odd, *deep, *paired]


def run(data: bytes) -> None:
    """Compare four readers."""
    found = attempt(strict_json.decode_object, data)
    asked = attempt_request(parse_object, data)
    if isinstance(found, Refused):
        assert isinstance(asked, Refused)
        return
    assert repr(json.loads(data)) == repr(found)
    assert msgspec.json.decode(data) == found
    assert _depth(found) <= DEEPEST
    # Reports, caches and signatures write again what was read.
    assert json.loads(json.dumps(found, ensure_ascii=False).encode()) == found
    if not isinstance(asked, Refused):
        assert repr(asked) == repr(found)
        assert _depth(found) <= MAX_DEPTH
    assert attempt(strict_json.decode_members, data, set(found)) == found


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, dict | list) + max(map(_depth, inner), default=0)

"""Signed statements of secrets: whatever an administrator signs is secrets or an error of ours.

The first octet tells what the rest is: a statement, which is signed here; the content of a request;
or a file of secrets.
"""

import base64
import json

from oblivious_client.errors import UsageError
from oblivious_client.provision import read_secrets
from protocol import provisioning
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.provisioning import LABEL, Secrets, open_secrets, sign_secrets
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Attempt, MemoryFile, Refused, attempt
from tests.protocol.test_provisioning import FULL, NOW, TEE_ID
from tests.support.provisioning import ADMINISTRATOR

MAX_BYTES = 8192
FILE = MemoryFile()
attempt_value = Attempt(ValueError)
attempt_file = Attempt(UsageError)

FAULTS = (
    slips("protocol.provisioning._texts", MalformedMessage),
    slips("protocol.strict_json.decode_base64", MalformedMessage),
    returns("protocol.provisioning._secrets", lambda found: Secrets({})),
    replaced("protocol.provisioning._require_value", lambda what, value: None),
)


def seeds() -> list[bytes]:
    """Return statements, good and odd, and whole contents."""
    good = {"keys": {"a": "sk"}, "settings": {"a": {"project": "p"}}}
    odd = [
        good,
        {**good, "keys": {"a": "two words"}},
        {**good, "keys": {"a": ""}},
        {**good, "settings": {"a": {"other": "x"}}},
        {**good, "settings": {"a": []}},
        {**good, "keys": []},
    ]
    timed = [{**each, "tee_id": TEE_ID, "timestamp": NOW} for each in odd]
    statements = [*timed, {**timed[0], "tee_id": "x"}, {**timed[0], "timestamp": NOW + 301}]
    content = sign_secrets(ADMINISTRATOR, FULL, tee_id=TEE_ID, timestamp=NOW)
    files = [
        b'[keys]\na = "sk"\n[settings.a]\nproject = "p"\n',
        b"[keys]\na = 1\n",
        b"keys = []\n",
        b"other = 1\n",
        b"x = " + b"9" * 4400,
        b"x = " + b"[" * 600,
    ]
    raw = [b'{"statement":"","signature":"AA=="}', b'{"statement":1,"signature":"\xc3\xbc"}', b"{}"]
    return [
        *(b"\0" + json.dumps(each).encode() for each in (*statements, [])),
        *(b"\1" + each for each in (content, *raw)),
        *(b"\2" + each for each in files),
    ]


def run(data: bytes) -> None:
    """Open a content; what opens is signed again and opens as the same."""
    kind, rest = data[0] % 3 if data else 0, data[1:]
    if kind == 2:
        found = attempt_file(read_secrets, FILE.holding(rest))
    else:
        found = attempt(_opened, rest if kind else _signed(rest))
    if not isinstance(found, Refused):
        assert kind or found.keys == json.loads(rest)["keys"]
        values = [
            *found.keys.values(),
            *(v for each in found.settings.values() for v in each.values()),
        ]
        assert all(value.isascii() and value.isprintable() and " " not in value for value in values)
        content = attempt_value(sign_secrets, ADMINISTRATOR, found, tee_id=TEE_ID, timestamp=NOW)
        assert isinstance(content, Refused) or _opened(content) == found
    key = attempt_value(provisioning.administrator_key, rest[:32])
    assert isinstance(key, Refused) or key.public_bytes_raw() == rest[:32]


def _signed(statement: bytes) -> bytes:
    members = {
        "statement": base64.b64encode(statement).decode(),
        "signature": base64.b64encode(ADMINISTRATOR.sign(LABEL + statement)).decode(),
    }
    return json.dumps(members).encode()


def _opened(content: bytes) -> Secrets:
    try:
        return open_secrets(content, ADMINISTRATOR.public_key(), tee_id=TEE_ID, now=NOW, window=300)
    except SignatureInvalid as error:
        raise MalformedMessage("not for this enclave, or not now") from error

"""The signed statement: what it binds, and that nothing else opens (protocol.provisioning)."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage, ProtocolError, SignatureInvalid
from protocol.provisioning import (
    LABEL,
    MAX_CONTENT_BYTES,
    Secrets,
    administrator_key,
    open_secrets,
    sign_secrets,
)
from tests.support.provisioning import ADMINISTRATOR, KEY, SECRETS, STRANGER, statement

TEE_ID = "ab" * 32
NOW = 1_800_000_000
FULL = Secrets(
    {"a": "sk-a", "b": "sk-b"}, {"a": {"organization": "org-1", "project": "proj_2"}, "b": {}}
)


def opened(content: bytes, *, tee_id: str = TEE_ID, now: float = NOW) -> Secrets:
    administrator = ADMINISTRATOR.public_key()
    return open_secrets(content, administrator, tee_id=tee_id, now=now, window=300)


def signed(text: str | bytes, *, label: bytes = LABEL) -> bytes:
    """Return a request whose statement is `text`, signed whatever it says."""
    data = text.encode() if isinstance(text, str) else text
    members = {
        "statement": base64.b64encode(data).decode(),
        "signature": base64.b64encode(ADMINISTRATOR.sign(label + data)).decode(),
    }
    return json.dumps(members).encode()


def fields(**changes: Any) -> str:
    members = {"keys": {"a": "k"}, "settings": {}, "tee_id": TEE_ID, "timestamp": NOW}
    return json.dumps({**members, **changes})


def test_what_was_signed_opens() -> None:
    content = sign_secrets(ADMINISTRATOR, FULL, tee_id=TEE_ID, timestamp=NOW)
    assert opened(content) == FULL
    assert opened(signed(fields())) == Secrets({"a": "k"})


@pytest.mark.parametrize("offset", [-300, 0, 300])
def test_the_window_is_both_ways(offset: int) -> None:
    assert opened(statement(TEE_ID, timestamp=NOW + offset)) == SECRETS


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(statement(TEE_ID, key=STRANGER, timestamp=NOW), id="another-key"),
        pytest.param(statement("cd" * 32, timestamp=NOW), id="another-enclave"),
        pytest.param(statement(TEE_ID, timestamp=NOW - 301), id="too-old"),
        pytest.param(statement(TEE_ID, timestamp=NOW + 301), id="ahead"),
        pytest.param(signed(fields(), label=b""), id="another-purpose"),
        pytest.param(signed(fields(tee_id=None)), id="for-no-enclave"),
        pytest.param(signed(fields(tee_id=TEE_ID.upper())), id="tee-id-in-other-letters"),
    ],
)
def test_a_signature_for_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        opened(content)


@given(st.data())
def test_no_bit_of_a_statement_can_be_changed(data: st.DataObject) -> None:
    members = json.loads(statement(TEE_ID, timestamp=NOW))
    name = data.draw(st.sampled_from(["statement", "signature"]))
    value = bytearray(base64.b64decode(members[name]))
    position = data.draw(st.integers(0, 8 * len(value) - 1))
    value[position // 8] ^= 1 << position % 8
    members[name] = base64.b64encode(value).decode()
    with pytest.raises(SignatureInvalid):
        opened(json.dumps(members).encode())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"statement": "", "signature": 1}',
        b'{"statement": "*", "signature": ""}',
        b'{"statement": "\xc3\xa9", "signature": ""}',
        b'{"statement": "", "statement": "", "signature": ""}',
        b'{"statement": "", "signature": "", "more": 1}',
        pytest.param(signed("garbage"), id="signed-garbage"),
        pytest.param(signed(b"\xff"), id="signed-bytes"),
        pytest.param(signed(fields(more=1)), id="another-member"),
        pytest.param(signed('{"keys": {}, "settings": {}}'), id="too-few-members"),
        pytest.param(signed(fields(timestamp="1")), id="timestamp-text"),
        pytest.param(signed(fields(timestamp=True)), id="timestamp-boolean"),
        pytest.param(signed(fields(timestamp=float(NOW))), id="timestamp-fraction"),
        pytest.param(signed(fields(timestamp=10**400)), id="timestamp-beyond-floats"),
        pytest.param(signed(fields(keys=[])), id="keys-no-table"),
        pytest.param(signed(fields(keys={"a": 1})), id="key-no-text"),
        pytest.param(signed(fields(keys={"a": ""})), id="key-empty"),
        pytest.param(signed(fields(keys={"a": "k\r\nX: y"})), id="key-with-line-end"),
        pytest.param(signed(fields(settings=[])), id="settings-no-table"),
        pytest.param(signed(fields(settings={"a": "x"})), id="account-no-table"),
        pytest.param(signed(fields(settings={"a": {"host": "x"}})), id="unknown-setting"),
        pytest.param(signed(fields(settings={"a": {"project": "é"}})), id="setting-no-ascii"),
    ],
)
def test_what_is_no_statement_is_malformed(content: bytes) -> None:
    with pytest.raises(MalformedMessage):
        opened(content)


@given(st.binary())
def test_any_bytes_raise_nothing_else(data: bytes) -> None:
    for content in (data, signed(data)):
        with pytest.raises(ProtocolError):
            opened(content)


def test_what_an_enclave_would_not_take_is_not_signed() -> None:
    long = Secrets({"a": "k" * MAX_CONTENT_BYTES})
    with pytest.raises(ValueError, match="longer"):
        sign_secrets(ADMINISTRATOR, long, tee_id=TEE_ID, timestamp=NOW)


def test_secrets_are_never_printed() -> None:
    assert KEY not in repr(SECRETS)
    with pytest.raises(ValueError, match="the key of 'a'") as caught:
        Secrets({"a": f"{KEY} "})
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        bytes(32),
        b"\x01" + bytes(31),
        b"\x01" + bytes(30) + b"\x80",
        bytes.fromhex("ec" + 30 * "ff" + "7f"),
        bytes.fromhex("ed" + 30 * "ff" + "7f"),  # zero, not in its shortest form
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    ],
)
def test_a_key_under_which_anybody_can_sign_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="placeholder"):
        administrator_key(raw)


def test_the_danger_of_such_a_key_is_real() -> None:
    """A constant passes for a signature over everything."""
    identity = b"\x01" + bytes(31)
    Ed25519PublicKey.from_public_bytes(identity).verify(identity + bytes(32), b"anything")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        administrator_key(bytes(range(size)))


def test_what_is_signed_does_not_tell_in_which_order_it_was_written() -> None:
    """A file's order means nothing: the same secrets are the same octets."""
    settings = {"b": {"project": "p", "organization": "o"}, "a": {}}
    turned = {"a": {}, "b": {"organization": "o", "project": "p"}}
    made = [
        sign_secrets(ADMINISTRATOR, Secrets(keys, table), tee_id=TEE_ID, timestamp=NOW)
        for keys, table in (({"b": "2", "a": "1"}, settings), ({"a": "1", "b": "2"}, turned))
    ]
    assert made[0] == made[1]
    members = json.loads(made[0])
    assert list(members) == sorted(members)


def test_a_key_of_whoever_made_one_is_taken() -> None:
    raw = ADMINISTRATOR.public_key().public_bytes_raw()
    assert administrator_key(raw).public_bytes_raw() == raw


@pytest.mark.parametrize("timestamp", [0, (1 << 63) - 1])
def test_the_ends_of_time_are_times(timestamp: int) -> None:
    content = signed(fields(timestamp=timestamp))
    assert opened(content, now=float(timestamp)).keys == {"a": "k"}
    for beyond in (-1, 1 << 63):
        with pytest.raises(MalformedMessage, match="time"):
            opened(signed(fields(timestamp=beyond)), now=float(beyond))

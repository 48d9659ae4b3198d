"""Signatures over answers: what is signed, and what every change of it gives."""

import base64
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError, SignatureInvalid
from protocol.signature import (
    SignedAnswer,
    key_identifier,
    output_of,
    output_of_choices,
    sign_answer,
    verify_answer,
)
from tests.support.attestation_samples import rsa_key, spki

REQUEST, OUTPUT, TIMESTAMP = b'{"model":"m"}', b"Paris.", 1_777_000_000
PUBLIC_KEY = rsa_key("signing").public_key()


def fields() -> dict[str, Any]:
    return dict(sign_answer(rsa_key("signing"), REQUEST, OUTPUT, timestamp=TIMESTAMP))


def test_the_fields_are_as_documented() -> None:
    signed = fields()
    assert signed["tee_request_hash"] == hashlib.sha256(REQUEST).hexdigest()
    assert signed["tee_output_hash"] == hashlib.sha256(OUTPUT).hexdigest()
    assert signed["tee_timestamp"] == TIMESTAMP
    assert signed["tee_id"] == hashlib.sha256(spki(PUBLIC_KEY)).hexdigest()
    assert len(base64.b64decode(signed["tee_signature"])) == 256
    assert json.loads(json.dumps(signed)) == signed


def test_a_third_party_can_verify_with_nothing_of_this_project() -> None:
    hashes = hashlib.sha256(REQUEST).digest() + hashlib.sha256(OUTPUT).digest()
    message = hashes + TIMESTAMP.to_bytes(8, "big")
    scheme = padding.PSS(padding.MGF1(SHA256()), 32)
    PUBLIC_KEY.verify(base64.b64decode(fields()["tee_signature"]), message, scheme, SHA256())


def test_a_good_signature_verifies() -> None:
    answer = verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, fields() | {"choices": []})
    assert answer.timestamp == TIMESTAMP
    assert answer.tee_id == key_identifier(PUBLIC_KEY)
    assert SignedAnswer.from_fields(answer.fields()) == answer


CHANGES: list[dict[str, Any]] = [
    {"tee_signature": None},
    {"tee_signature": ""},
    {"tee_signature": "not base64"},
    {"tee_signature": "ÄÄÄÄ"},
    {"tee_signature": base64.b64encode(bytes(256)).decode()},
    {"tee_signature": base64.b64encode(bytes(5)).decode()},
    {"tee_request_hash": None},
    {"tee_request_hash": "00"},
    {"tee_request_hash": "00" * 32},
    {"tee_request_hash": "z" * 64},
    {"tee_output_hash": 5},
    {"tee_output_hash": "00" * 32},
    {"tee_timestamp": TIMESTAMP + 1},
    {"tee_timestamp": TIMESTAMP - 1},
    {"tee_timestamp": -1},
    {"tee_timestamp": 1 << 64},
    {"tee_timestamp": True},
    {"tee_timestamp": float(TIMESTAMP)},
    {"tee_timestamp": str(TIMESTAMP)},
    {"tee_id": None},
    {"tee_id": "00" * 32},
]


@pytest.mark.parametrize("changes", CHANGES)
def test_changed_fields(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, fields() | changes)


@pytest.mark.parametrize("name", [name for name in fields() if name.startswith("tee_")])
def test_absent_fields(name: str) -> None:
    without = {field: value for field, value in fields().items() if field != name}
    with pytest.raises(SignatureInvalid):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, without)


def test_another_request_answer_or_key() -> None:
    for public_key, request, output in (
        (PUBLIC_KEY, REQUEST + b" ", OUTPUT),
        (PUBLIC_KEY, REQUEST, OUTPUT + b" "),
        (rsa_key("another").public_key(), REQUEST, OUTPUT),
    ):
        with pytest.raises(SignatureInvalid):
            verify_answer(public_key, request, output, fields())


def test_a_salt_of_another_length_is_not_accepted() -> None:
    hashes = hashlib.sha256(REQUEST).digest() + hashlib.sha256(OUTPUT).digest()
    message = hashes + TIMESTAMP.to_bytes(8, "big")
    scheme = padding.PSS(padding.MGF1(SHA256()), 20)
    signature = rsa_key("signing").sign(message, scheme, SHA256())
    changed = fields() | {"tee_signature": base64.b64encode(signature).decode()}
    with pytest.raises(SignatureInvalid):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, changed)


JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(fields(), JSON)))
def test_arbitrary_fields_raise_signature_invalid_alone(changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT + b"!", fields() | changes)


# What is signed of an answer

CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": "ü"}'}}
CANONICAL_CALL = (
    '[{"function":{"arguments":"{\\"a\\": \\"ü\\"}","name":"f"},"id":"call_1","type":"function"}]'
)

MESSAGES: list[tuple[dict[str, Any], bytes]] = [
    ({"content": "Paris."}, b"Paris."),
    ({"content": "Zürich\u2028", "role": "assistant"}, "Zürich\u2028".encode()),
    ({"content": ""}, b""),
    ({"content": None}, b""),
    ({}, b""),
    ({"content": "a", "tool_calls": None}, b"a"),
    ({"content": "a", "tool_calls": []}, b"a"),
    ({"content": None, "tool_calls": [CALL]}, CANONICAL_CALL.encode()),
    ({"content": "a", "tool_calls": [CALL]}, b"a\xff" + CANONICAL_CALL.encode()),
    ({"tool_calls": [{"index": 0, **CALL}]}, CANONICAL_CALL.encode()),
    ({"text": "completed", "index": 0}, b"completed"),
]


@pytest.mark.parametrize(("message", "output"), MESSAGES)
def test_output_of_a_message(message: dict[str, Any], output: bytes) -> None:
    assert output_of(message) == output
    assert output_of_choices([message]) == output


def test_the_order_of_members_does_not_matter_and_that_of_calls_does() -> None:
    turned = dict(reversed(CALL.items()))
    assert output_of({"tool_calls": [turned]}) == output_of({"tool_calls": [CALL]})
    other = CALL | {"id": "call_2"}
    assert output_of({"tool_calls": [CALL, other]}) != output_of({"tool_calls": [other, CALL]})


def test_output_of_several_choices() -> None:
    hashes = [hashlib.sha256(text).hexdigest() for text in (b"a", b"b")]
    expected = f'["{hashes[0]}","{hashes[1]}"]'.encode()
    assert output_of_choices([{"content": "a"}, {"text": "b"}]) == b"\xff" + expected
    assert output_of_choices([]) == b"\xff[]"


def test_a_repeated_text_signs_no_other_answer() -> None:
    """A model says what it is asked to repeat; that must not be a signature over anything else."""
    invented = [{"content": "I never said this."}, {"content": "Nor this."}]
    with_call = {"content": "a", "tool_calls": [CALL]}
    hashes = [hashlib.sha256(output_of(message)).hexdigest() for message in invented]
    repeated = [json.dumps(hashes, separators=(",", ":")), "a" + CANONICAL_CALL]
    signed = [output_of_choices([{"content": text}]) for text in repeated]
    assert output_of_choices(invented) not in signed
    assert output_of_choices([with_call]) not in signed


@pytest.mark.parametrize(
    "message",
    [
        {"content": 5},
        {"content": [{"type": "text"}]},
        {"content": "\ud800"},
        {"text": {}},
        {"tool_calls": "call"},
        {"tool_calls": ["call"]},
        {"tool_calls": [{"id": float("nan")}]},
        {"tool_calls": [{"id": "\ud800"}]},
        {"tool_calls": [{"id": b"bytes"}]},
    ],
    ids=range(9),
)
def test_outputs_that_cannot_be_signed(message: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        output_of(message)


def test_the_error_is_of_the_one_root() -> None:
    assert issubclass(SignatureInvalid, ProtocolError)

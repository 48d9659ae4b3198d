"""Signatures over answers: what is signed, and what every change of it gives.

What has no version in its name is of the first, which is verified for ever.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given
from hypothesis import strategies as st

from protocol.answer_transcript import ANSWER_LABEL, encode_answer, encode_choices
from protocol.embedding_transcript import (
    EMBEDDING_ANSWER_LABEL,
    decode,
    encode_embeddings,
    encode_vector,
)
from protocol.errors import ProtocolError, SignatureInvalid
from protocol.signature import (
    Algorithm,
    SignedAnswer,
    SigningKeys,
    key_identifier,
    output_of,
    output_of_choices,
    sign_answer,
    sign_choices,
    sign_embeddings,
    verify_answer,
    verify_choices,
    verify_embeddings,
)
from tests.support.attestation_samples import rsa_key, signing_keys, spki

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


def test_a_signature_of_version_1_is_none_of_version_2() -> None:
    named = {"tee_signature_version": 2, "tee_signature_algorithm": Algorithm.RSA}
    with pytest.raises(SignatureInvalid, match="another version"):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, fields() | named)


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


# The second version

KEYS = signing_keys("signing")
CHOICES: list[dict[str, Any]] = [
    {"index": 0, "message": {"content": "Paris."}, "finish_reason": "stop"}
]
VECTOR: dict[str, Any] = {
    "tee_signature": (
        "HD3irWQVfwdvH6Nr1b5G+7RyUeWcXR30YFVyHpgmjmUtYJnykT+Ra89L3+LWQIIj4T3YwtVfLxQNzVScID9TAw=="
    ),
    "tee_request_hash": "548f58d1c36c715b44f0863472074a97c448d5b8d18164b92adf55592b127f86",
    "tee_output_hash": "1a37181c76efb06746ba60ed4d50ef4bd2116af0562575f48cbf89838e2802ff",
    "tee_timestamp": 1777000000,
    "tee_id": "a050837d85070582ccf7394b0988847cc312cb88259b894899f6f239cf1791a5",
    "tee_signature_version": 2,
    "tee_signature_algorithm": "ed25519",
}
EVERY = pytest.mark.parametrize("algorithm", Algorithm)


def body(algorithm: Algorithm) -> dict[str, Any]:
    key = KEYS.find(algorithm)
    signed = sign_choices(key, REQUEST, CHOICES, model="m", timestamp=TIMESTAMP)
    return {"model": "m", **signed}


def verified(changed: dict[str, Any], choices: Any = CHOICES, request: bytes = REQUEST) -> Any:
    return verify_choices(KEYS.public_keys, request, choices, changed)


@EVERY
def test_version_2_verifies(algorithm: Algorithm) -> None:
    made = body(algorithm)
    answer = verified(made)
    assert (answer.version, answer.algorithm, answer.timestamp) == (2, algorithm, TIMESTAMP)
    assert answer.tee_id == key_identifier(KEYS.find(algorithm).public_key())
    assert {"model": "m", **answer.fields()} == made
    assert SignedAnswer.from_fields(answer.fields()) == answer


def test_version_2_of_a_known_key_is_what_it_was() -> None:
    """A third party can verify it with Ed25519 and SHA-256 alone."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    fields = sign_choices(key, REQUEST, CHOICES, model="m", timestamp=TIMESTAMP)
    assert fields == VECTOR
    parts = [b"oblivious-inference choices 2", b"1", b"0", b"Paris.", b"", b"", b"0", b"stop"]
    output_hash = hashlib.sha256(b"".join(map(part, parts))).digest()
    parts = [b"oblivious-inference answer 2", b"ed25519", bytes.fromhex(VECTOR["tee_id"])]
    parts += [hashlib.sha256(REQUEST).digest(), output_hash, b"m", b"1777000000"]
    key.public_key().verify(base64.b64decode(VECTOR["tee_signature"]), b"".join(map(part, parts)))


def part(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


@EVERY
@pytest.mark.parametrize("changes", CHANGES)
def test_changed_fields_of_version_2(algorithm: Algorithm, changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verified(body(algorithm) | changes)


@EVERY
@pytest.mark.parametrize("name", ["model", *body(Algorithm.RSA)])
def test_absent_fields_of_version_2(algorithm: Algorithm, name: str) -> None:
    with pytest.raises(SignatureInvalid):
        verified({field: value for field, value in body(algorithm).items() if field != name})


@EVERY
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "another"},
        {"tee_signature_version": 1},
        {"tee_signature_version": 3},
        {"tee_signature_version": True},
        {"tee_signature_version": 2.0},
        {"tee_signature_version": "2"},
        {"tee_signature_algorithm": "none"},
        {"tee_signature_algorithm": None},
        {"tee_signature_algorithm": ["ed25519"]},
        {"tee_signature_version": None, "tee_signature_algorithm": None},
    ],
    ids=repr,
)
def test_what_version_2_says_of_itself(algorithm: Algorithm, changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verified(body(algorithm) | changes)


@EVERY
def test_no_key_passes_for_the_other(algorithm: Algorithm) -> None:
    (other,) = set(Algorithm) - {algorithm}
    made, others = body(algorithm), body(other)
    for names in (
        {"tee_signature_algorithm"},
        {"tee_id"},
        {"tee_signature_algorithm", "tee_id"},
    ):
        with pytest.raises(SignatureInvalid):
            verified(made | {name: others[name] for name in names})
    with pytest.raises(SignatureInvalid):
        verify_choices([KEYS.find(other).public_key()], REQUEST, CHOICES, made)


def changed_choice(**changes: Any) -> list[dict[str, Any]]:
    return [{**CHOICES[0], **changes}]


@EVERY
@pytest.mark.parametrize(
    "choices",
    [
        changed_choice(index=1),
        changed_choice(finish_reason="length"),
        changed_choice(message={"content": "Paris"}),
        changed_choice(message={"refusal": "Paris."}),
        changed_choice(message={"content": "Paris.", "refusal": "no"}),
        changed_choice(message={"content": "Paris.", "reasoning_content": "hm"}),
        CHOICES * 2,
        [],
    ],
)
def test_version_2_of_another_answer(algorithm: Algorithm, choices: list[dict[str, Any]]) -> None:
    with pytest.raises(SignatureInvalid):
        verified(body(algorithm), choices)
    with pytest.raises(SignatureInvalid):
        verified(body(algorithm), request=REQUEST + b" ")


def test_version_1_is_verified_among_the_others_and_with_the_rsa_key_alone() -> None:
    answer = verified({"model": "whatever", **fields()}, [{"message": {"content": "Paris."}}])
    assert (answer.version, answer.algorithm) == (1, Algorithm.RSA)
    with pytest.raises(SignatureInvalid):
        verified(fields() | {"tee_id": key_identifier(KEYS.ed25519.public_key())})
    with pytest.raises(SignatureInvalid):
        verify_answer(PUBLIC_KEY, REQUEST, OUTPUT, body(Algorithm.RSA))


def test_the_first_version_signs_a_call_and_its_text_alike_and_the_second_does_not() -> None:
    call: list[dict[str, Any]] = [{"index": 0, "message": {"tool_calls": [CALL]}}]
    text: list[dict[str, Any]] = [{"index": 0, "message": {"content": CANONICAL_CALL}}]
    assert output_of(call[0]["message"]) == output_of(text[0]["message"])
    signed = sign_choices(KEYS.ed25519, REQUEST, call, model="m", timestamp=TIMESTAMP)
    verified({"model": "m", **signed}, call)
    with pytest.raises(SignatureInvalid):
        verified({"model": "m", **signed}, text)


def test_keys_are_new_and_not_printed() -> None:
    one, other = SigningKeys.generate(), SigningKeys.generate()
    assert {key_identifier(key) for key in one.public_keys}.isdisjoint(
        key_identifier(key) for key in other.public_keys
    )
    assert repr(one) == "SigningKeys()"


# What the first version signs of an answer

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


VECTORS = [encode_vector([1.0, -0.5]), encode_vector([0.25, 3e-9])]


def embedded(algorithm: Algorithm, **changes: object) -> dict[str, Any]:
    key = KEYS.find(algorithm)
    signed = sign_embeddings(key, REQUEST, VECTORS, model="m", timestamp=TIMESTAMP)
    data = [
        {"object": "embedding", "index": index, "embedding": list(decode(vector))}
        for index, vector in enumerate(VECTORS)
    ]
    return {"object": "list", "data": data, "model": "m", **signed, **changes}


@EVERY
def test_embeddings_verify_in_either_encoding(algorithm: Algorithm) -> None:
    made = embedded(algorithm)
    answer = verify_embeddings(KEYS.public_keys, REQUEST, made)
    assert (answer.version, answer.algorithm, answer.timestamp) == (2, algorithm, TIMESTAMP)
    for item, vector in zip(made["data"], VECTORS, strict=True):
        item["embedding"] = base64.b64encode(vector).decode()
    assert verify_embeddings(KEYS.public_keys, REQUEST, made) == answer


@EVERY
@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"tee_timestamp": TIMESTAMP + 1},
        {"data": []},
        {"data": [{"index": 0, "embedding": [1.0, -0.5]}]},
        {"data": [{"index": i, "embedding": [1.0, -0.5]} for i in range(2)]},
        {"tee_request_hash": "00" * 32},
        {"tee_output_hash": "00" * 32},
        {"tee_signature_version": 1},
        {"tee_signature_version": None, "tee_signature_algorithm": None},
    ],
)
def test_changed_embeddings(algorithm: Algorithm, changes: dict[str, Any]) -> None:
    with pytest.raises(SignatureInvalid):
        verify_embeddings(KEYS.public_keys, REQUEST, embedded(algorithm, **changes))


def test_embeddings_of_another_request_or_key() -> None:
    with pytest.raises(SignatureInvalid):
        verify_embeddings(KEYS.public_keys, REQUEST + b" ", embedded(Algorithm.RSA))
    with pytest.raises(SignatureInvalid):
        verify_embeddings(KEYS.public_keys[:1], REQUEST, embedded(Algorithm.ED25519))


def signed_as(output: bytes, message: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Return members that carry Ed25519's signature over `message` of an output's hash."""
    made = embedded(Algorithm.ED25519)
    digest = hashlib.sha256(output).digest()
    signature = KEYS.ed25519.sign(message(digest))
    text = base64.b64encode(signature).decode()
    return {**made, "tee_output_hash": digest.hex(), "tee_signature": text}


@pytest.mark.parametrize("label", [ANSWER_LABEL, EMBEDDING_ANSWER_LABEL])
def test_the_label_alone_keeps_one_kind_of_answer_from_the_other(label: bytes) -> None:
    """Even if their outputs had the same hash, the signed transcript says which kind it is."""
    tee_id = bytes.fromhex(key_identifier(KEYS.ed25519.public_key()))
    hashed = hashlib.sha256(REQUEST).digest()

    def message(output: bytes) -> bytes:
        return encode_answer("ed25519", tee_id, (hashed, output), "m", TIMESTAMP, label)

    vectors = signed_as(encode_embeddings(VECTORS), message)
    chat = signed_as(encode_choices(CHOICES), message)
    for check, kind in (
        (lambda: verify_embeddings(KEYS.public_keys, REQUEST, vectors), EMBEDDING_ANSWER_LABEL),
        (lambda: verified(chat), ANSWER_LABEL),
    ):
        if label == kind:
            assert check().version == 2
        else:
            with pytest.raises(SignatureInvalid, match="does not verify"):
                check()


def test_neither_kind_of_answer_is_shown_as_the_other() -> None:
    with pytest.raises(SignatureInvalid):
        verified(embedded(Algorithm.ED25519))
    with pytest.raises(SignatureInvalid):
        verified(embedded(Algorithm.ED25519), [])
    with pytest.raises(SignatureInvalid):
        verify_embeddings(KEYS.public_keys, REQUEST, {**body(Algorithm.ED25519), "data": []})

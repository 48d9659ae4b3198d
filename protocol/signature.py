"""Signatures over answers, so that an answer can be shown to a third party.

Version 2 signs the transcript of `protocol.answer_transcript`, or of
`protocol.embedding_transcript` for embeddings, with one of two keys: RSA-PSS
(RFC 8017, Section 8.1) with SHA-256, MGF1-SHA256 and a 32-byte salt, or Ed25519 (RFC 8032).

Version 1, which is made on demand and verified for ever, is RSA-PSS alone, over request hash
(32 bytes) ‖ output hash (32 bytes) ‖ timestamp (Unix seconds, 8 bytes, big-endian). These 72
octets are no transcript, whose first part alone has 36 and 64 follow in hashes and `tee_id`.
"""

import base64
import enum
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.answer_transcript import (
    ANSWER_LABEL,
    encode_answer,
    encode_choices,
    message_of,
)
from protocol.embedding_transcript import (
    EMBEDDING_ANSWER_LABEL,
    encode_embeddings,
    vectors_of,
)
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.strict_json import decode_base64

PSS = padding.PSS(padding.MGF1(SHA256()), salt_length=32)
APART = b"\xff"
"""Stands where no UTF-8 text has it, so that nothing else that is signed can be had as a text.

Else who has a model repeat a list of hashes would hold a signature over choices of his own.
"""

LATEST_TIMESTAMP = 1 << 37
"""In the year 6325: not every library can turn a later time into a date."""

RSA_BITS: Final = 2048
PublicKey = RSAPublicKey | Ed25519PublicKey
PrivateKey = RSAPrivateKey | Ed25519PrivateKey


class Algorithm(enum.StrEnum):
    """What signs an answer, as `tee_signature_algorithm` and the field of a request say it."""

    RSA = "rsa-pss-sha256"
    ED25519 = "ed25519"


FIELD_NAME = b"tee-signature"
"""The field inside the seal that says which algorithm is to sign; RSA where it is absent."""

ASKED_FIELD = (FIELD_NAME, Algorithm.ED25519.value.encode())
"""What our client asks for, always: so it tells no two clients apart."""


@dataclass(frozen=True, slots=True)
class RequestHash:
    """The SHA-256 of a request's exact octets, for who does not keep these until the answer."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The keys that sign answers, made at the start of an enclave."""

    rsa: RSAPrivateKey = field(repr=False)
    ed25519: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> Self:
        """Return new keys."""
        rsa = generate_private_key(public_exponent=65537, key_size=RSA_BITS)
        return cls(rsa, Ed25519PrivateKey.generate())

    @property
    def public_keys(self) -> tuple[RSAPublicKey, Ed25519PublicKey]:
        """The keys that verify what these sign."""
        return self.rsa.public_key(), self.ed25519.public_key()

    def find(self, algorithm: Algorithm) -> PrivateKey:
        """Return the key of that algorithm."""
        return self.ed25519 if algorithm is Algorithm.ED25519 else self.rsa


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """What an answer carries: what was signed, when, by which key, and in which way."""

    signature: bytes
    request_hash: bytes
    output_hash: bytes
    timestamp: int
    tee_id: str
    version: int = 1
    algorithm: Algorithm = Algorithm.RSA

    def fields(self) -> dict[str, str | int]:
        """Return the JSON members that go into an answer; those of version 1 are five."""
        fields: dict[str, str | int] = {
            "tee_signature": base64.b64encode(self.signature).decode(),
            "tee_request_hash": self.request_hash.hex(),
            "tee_output_hash": self.output_hash.hex(),
            "tee_timestamp": self.timestamp,
            "tee_id": self.tee_id,
        }
        if self.version == 1:
            return fields
        fields["tee_signature_version"] = self.version
        fields["tee_signature_algorithm"] = self.algorithm.value
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> Self:
        """Read the members of an answer; raise SignatureInvalid if one is absent or ill-formed."""
        return cls(
            _base64(fields.get("tee_signature")),
            _digest(fields.get("tee_request_hash")),
            _digest(fields.get("tee_output_hash")),
            _seconds(fields.get("tee_timestamp")),
            _digest(fields.get("tee_id")).hex(),
            *_manner(fields),
        )


def sign_answer(
    private_key: RSAPrivateKey, request_body: bytes | RequestHash, output: bytes, *, timestamp: int
) -> dict[str, str | int]:
    """Return the fields of version 1 for `output`, the answer to the bytes `request_body`."""
    hashes = _request_hash(request_body), _sha256(output)
    signature = _sign(private_key, _message(*hashes, timestamp))
    tee_id = key_identifier(private_key.public_key())
    return SignedAnswer(signature, *hashes, timestamp, tee_id).fields()


def sign_choices(
    private_key: PrivateKey,
    request_body: bytes | RequestHash,
    choices: Sequence[Mapping[str, object]],
    *,
    model: str,
    timestamp: int,
) -> dict[str, str | int]:
    """Return the fields of version 2 for `choices`, `model`'s answer to `request_body`."""
    hashes = _request_hash(request_body), _sha256(encode_choices(choices))
    return _sign_transcript(private_key, hashes, model, timestamp, ANSWER_LABEL)


def sign_embeddings(
    private_key: PrivateKey,
    request_body: bytes | RequestHash,
    vectors: Sequence[bytes],
    *,
    model: str,
    timestamp: int,
) -> dict[str, str | int]:
    """Return the fields of version 2 for `vectors`, `model`'s answer to `request_body`.

    `vectors` are binary32, little-endian, in the order of their index.
    """
    hashes = _request_hash(request_body), _sha256(encode_embeddings(vectors))
    return _sign_transcript(private_key, hashes, model, timestamp, EMBEDDING_ANSWER_LABEL)


def verify_choices(
    public_keys: Sequence[PublicKey],
    request_body: bytes,
    choices: Sequence[Mapping[str, object]],
    fields: Mapping[str, object],
) -> SignedAnswer:
    """Return the verified signature, of either version, or raise SignatureInvalid.

    `choices` are in the order of their `index`; `fields` holds the other members of the answer.
    """
    answer = SignedAnswer.from_fields(fields)
    public_key = _signer(public_keys, answer)
    if answer.version == 1:
        output = output_of_choices([message_of(choice) for choice in choices])
        message = _message(answer.request_hash, answer.output_hash, answer.timestamp)
    else:
        output = encode_choices(choices)
        message = _transcript(answer, fields.get("model"), ANSWER_LABEL)
    _verify(public_key, answer, (request_body, output), message)
    return answer


def verify_embeddings(
    public_keys: Sequence[PublicKey], request_body: bytes, fields: Mapping[str, object]
) -> SignedAnswer:
    """Return the verified signature of embeddings, or raise SignatureInvalid.

    `fields` is the whole answer: its `data`, its model and the members of the signature.
    """
    answer = SignedAnswer.from_fields(fields)
    if answer.version == 1:
        raise SignatureInvalid("no embeddings were ever signed in the first version")
    output = encode_embeddings(vectors_of(fields.get("data")))
    message = _transcript(answer, fields.get("model"), EMBEDDING_ANSWER_LABEL)
    _verify(_signer(public_keys, answer), answer, (request_body, output), message)
    return answer


def verify_answer(
    public_key: RSAPublicKey, request_body: bytes, output: bytes, fields: Mapping[str, object]
) -> SignedAnswer:
    """Return the verified signature of version 1, or raise SignatureInvalid."""
    answer = SignedAnswer.from_fields(fields)
    if answer.version != 1:
        raise SignatureInvalid("the signature is of another version")
    message = _message(answer.request_hash, answer.output_hash, answer.timestamp)
    _verify(_signer([public_key], answer), answer, (request_body, output), message)
    return answer


def algorithm_of(public_key: PublicKey) -> Algorithm:
    """Return what a key verifies."""
    return Algorithm.RSA if isinstance(public_key, RSAPublicKey) else Algorithm.ED25519


def key_identifier(public_key: PublicKey) -> str:
    """Return the `tee_id`: hexadecimal SHA-256 of the DER SubjectPublicKeyInfo."""
    return _sha256(encode_spki(public_key)).hex()


def encode_spki(public_key: PublicKey) -> bytes:
    """Return the DER SubjectPublicKeyInfo."""
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def encode_pem(public_key: PublicKey) -> bytes:
    """Return the SubjectPublicKeyInfo in PEM."""
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _sign_transcript(
    private_key: PrivateKey, hashes: tuple[bytes, bytes], model: str, timestamp: int, label: bytes
) -> dict[str, str | int]:
    public_key = private_key.public_key()
    algorithm, tee_id = algorithm_of(public_key), key_identifier(public_key)
    message = encode_answer(algorithm, bytes.fromhex(tee_id), hashes, model, timestamp, label)
    signature = _sign(private_key, message)
    return SignedAnswer(signature, *hashes, timestamp, tee_id, 2, algorithm).fields()


def _transcript(answer: SignedAnswer, model: object, label: bytes) -> bytes:
    """Return what `answer` says was signed."""
    tee_id, hashes = bytes.fromhex(answer.tee_id), (answer.request_hash, answer.output_hash)
    return encode_answer(answer.algorithm, tee_id, hashes, model, answer.timestamp, label)


def _signer(public_keys: Sequence[PublicKey], answer: SignedAnswer) -> PublicKey:
    """Return the key that an answer names, which is one of its algorithm."""
    named = (answer.algorithm, answer.tee_id)
    for public_key in public_keys:
        if (algorithm_of(public_key), key_identifier(public_key)) == named:
            return public_key
    raise SignatureInvalid("signed by another key")


def _verify(
    public_key: PublicKey, answer: SignedAnswer, hashed: tuple[bytes, bytes], message: bytes
) -> None:
    request_body, output = hashed
    if answer.request_hash != _sha256(request_body):
        raise SignatureInvalid("the signature is for another request")
    if answer.output_hash != _sha256(output):
        raise SignatureInvalid("the signature is for another answer")
    try:
        if isinstance(public_key, RSAPublicKey):
            public_key.verify(answer.signature, message, PSS, SHA256())
        else:
            public_key.verify(answer.signature, message)
    except InvalidSignature:
        raise SignatureInvalid("the signature does not verify") from None


def _sign(private_key: PrivateKey, message: bytes) -> bytes:
    if isinstance(private_key, RSAPrivateKey):
        return private_key.sign(message, PSS, SHA256())
    return private_key.sign(message)


def _request_hash(request: bytes | RequestHash) -> bytes:
    return request.digest if isinstance(request, RequestHash) else _sha256(request)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def output_of(message: Mapping[str, object]) -> bytes:
    """Return what version 1 signs of a choice: its text, its tool calls, or APART between both.

    `message` is a chat message (`content`, `tool_calls`) or a completion (`text`).
    """
    content = message.get("text") if "text" in message else message.get("content")
    if content is not None and not isinstance(content, str):
        raise SignatureInvalid("the content is not text")
    calls = message.get("tool_calls")
    said = (_utf8(content or ""), _tool_calls(calls) if calls else b"")
    return APART.join(part for part in said if part)


def output_of_choices(messages: Sequence[Mapping[str, object]]) -> bytes:
    """Return what version 1 signs of an answer: an output, or a list of the hashes of several.

    `messages` are in the order of their `index`; several are signed as APART and the canonical
    JSON list of the hexadecimal SHA-256 of each output.
    """
    outputs = [output_of(message) for message in messages]
    if len(outputs) == 1:
        return outputs[0]
    return APART + _canonical_json([hashlib.sha256(output).hexdigest() for output in outputs])


def _message(request_hash: bytes, output_hash: bytes, timestamp: int) -> bytes:
    return request_hash + output_hash + timestamp.to_bytes(8, "big")


def _tool_calls(calls: object) -> bytes:
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise SignatureInvalid("the tool calls are not a list of objects")
    # A stream numbers its calls and a whole answer does not: only their order is signed.
    return _canonical_json(
        [{name: value for name, value in call.items() if name != "index"} for call in calls]
    )


def _canonical_json(value: object) -> bytes:
    """Return JSON with sorted keys, no spaces and no escapes that are not needed."""
    try:
        text = json.dumps(
            value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
    except (TypeError, ValueError, RecursionError):
        raise SignatureInvalid("not JSON") from None
    return _utf8(text)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise SignatureInvalid("a lone surrogate has no bytes to sign") from None


def _manner(fields: Mapping[str, object]) -> tuple[int, Algorithm]:
    """Return version and algorithm, which version 1 leaves out."""
    version, algorithm = fields.get("tee_signature_version"), fields.get("tee_signature_algorithm")
    if version is None and algorithm is None:
        return 1, Algorithm.RSA
    if type(version) is not int or version != 2:
        raise SignatureInvalid("a version of signatures that is not known")
    try:
        return 2, Algorithm(str(algorithm))
    except ValueError:
        raise SignatureInvalid("an algorithm of signatures that is not known") from None


def _base64(value: object) -> bytes:
    try:
        return decode_base64(value)
    except MalformedMessage:
        raise SignatureInvalid("the signature is absent, or not base64") from None


def _digest(value: object) -> bytes:
    if not isinstance(value, str) or len(value) != 64:
        raise SignatureInvalid("not the hexadecimal of a SHA-256")
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise SignatureInvalid("not the hexadecimal of a SHA-256") from None


def _seconds(value: object) -> int:
    if type(value) is not int or not 0 <= value <= LATEST_TIMESTAMP:
        raise SignatureInvalid("not a time in Unix seconds")
    return value

"""Signatures over answers, so that an answer can be shown to a third party.

RSA-PSS (RFC 8017, Section 8.1) with SHA-256, MGF1-SHA256 and a 32-byte salt over
request hash (32 bytes) ‖ output hash (32 bytes) ‖ timestamp (Unix seconds, 8 bytes, big-endian).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.strict_json import decode_base64

PSS = padding.PSS(padding.MGF1(SHA256()), salt_length=32)
APART = b"\xff"
"""Stands where no UTF-8 text has it, so that nothing else that is signed can be had as a text.

Else who has a model repeat a list of hashes would hold a signature over choices of his own.
"""

LATEST_TIMESTAMP = 1 << 37
"""In the year 6325: not every library can turn a later time into a date."""


@dataclass(frozen=True, slots=True)
class SignedAnswer:
    """The five fields that an answer carries: what was signed, when, and by which key."""

    signature: bytes
    request_hash: bytes
    output_hash: bytes
    timestamp: int
    tee_id: str

    def fields(self) -> dict[str, str | int]:
        """Return the JSON members that go into an answer."""
        return {
            "tee_signature": base64.b64encode(self.signature).decode(),
            "tee_request_hash": self.request_hash.hex(),
            "tee_output_hash": self.output_hash.hex(),
            "tee_timestamp": self.timestamp,
            "tee_id": self.tee_id,
        }

    @classmethod
    def from_fields(cls, fields: Mapping[str, object]) -> Self:
        """Read the members of an answer; raise SignatureInvalid if one is absent or ill-formed."""
        return cls(
            _base64(fields.get("tee_signature")),
            _digest(fields.get("tee_request_hash")),
            _digest(fields.get("tee_output_hash")),
            _seconds(fields.get("tee_timestamp")),
            _digest(fields.get("tee_id")).hex(),
        )


def sign_answer(
    private_key: RSAPrivateKey, request_body: bytes, output: bytes, *, timestamp: int
) -> dict[str, str | int]:
    """Return the signature fields for `output`, the answer to the exact bytes `request_body`."""
    hashes = hashlib.sha256(request_body).digest(), hashlib.sha256(output).digest()
    signature = private_key.sign(_message(*hashes, timestamp), PSS, SHA256())
    tee_id = key_identifier(private_key.public_key())
    return SignedAnswer(signature, *hashes, timestamp, tee_id).fields()


def verify_answer(
    public_key: RSAPublicKey, request_body: bytes, output: bytes, fields: Mapping[str, object]
) -> SignedAnswer:
    """Return the verified signature, or raise SignatureInvalid."""
    answer = SignedAnswer.from_fields(fields)
    if answer.tee_id != key_identifier(public_key):
        raise SignatureInvalid("signed by another key")
    if answer.request_hash != hashlib.sha256(request_body).digest():
        raise SignatureInvalid("the signature is for another request")
    if answer.output_hash != hashlib.sha256(output).digest():
        raise SignatureInvalid("the signature is for another answer")
    message = _message(answer.request_hash, answer.output_hash, answer.timestamp)
    try:
        public_key.verify(answer.signature, message, PSS, SHA256())
    except InvalidSignature:
        raise SignatureInvalid("the signature does not verify") from None
    return answer


def key_identifier(public_key: RSAPublicKey) -> str:
    """Return the `tee_id`: hexadecimal SHA-256 of the DER SubjectPublicKeyInfo."""
    der = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def output_of(message: Mapping[str, object]) -> bytes:
    """Return what is signed of one choice: its text, or its tool calls, or APART between both.

    `message` is a chat message (`content`, `tool_calls`) or a completion (`text`).
    """
    content = message.get("text") if "text" in message else message.get("content")
    if content is not None and not isinstance(content, str):
        raise SignatureInvalid("the content is not text")
    said = (_utf8(content or ""), _tool_calls(message.get("tool_calls")))
    return APART.join(part for part in said if part)


def output_of_choices(messages: Sequence[Mapping[str, object]]) -> bytes:
    """Return what is signed of an answer: one choice's output, or a list of hashes of several.

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
    if not calls:
        return b""
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

"""Signatures are made with the keys and at the time of the moment, in the way that is asked for."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.signing import Signer, asked_algorithm
from protocol.binary_http import Request
from protocol.signature import (
    ASKED_FIELD,
    Algorithm,
    SigningKeys,
    output_of_choices,
    verify_answer,
    verify_choices,
)

KEYS = [SigningKeys.generate() for _ in range(2)]
OUTPUTS: list[dict[str, Any]] = [
    {"index": 0, "content": "a", "finish_reason": "stop"},
    {"index": 1, "content": "b", "finish_reason": "length"},
]


def test_the_key_and_the_time_of_the_moment_are_used() -> None:
    keys, times = iter(KEYS), iter((1.9, 2.9))
    signer = Signer(lambda: next(keys), lambda: next(times), version=1)
    for key, time in zip(KEYS, (1, 2), strict=True):
        fields = signer.sign(b"request", OUTPUTS, "m", None)
        signed = verify_answer(key.rsa.public_key(), b"request", output_of_choices(OUTPUTS), fields)
        assert signed.timestamp == time


@pytest.mark.parametrize(
    ("version", "asked", "signed"),
    [
        (1, None, (1, Algorithm.RSA)),
        (2, None, (2, Algorithm.RSA)),
        (1, Algorithm.ED25519, (2, Algorithm.ED25519)),
        (2, Algorithm.ED25519, (2, Algorithm.ED25519)),
        (1, Algorithm.RSA, (2, Algorithm.RSA)),
    ],
)
def test_version_and_algorithm(
    version: int, asked: Algorithm | None, signed: tuple[int, Algorithm]
) -> None:
    signer = Signer(lambda: KEYS[0], lambda: 1.0, version)
    fields = signer.sign(b"request", OUTPUTS, "m", asked)
    assert ("tee_signature_version" in fields) == (signed[0] == 2)
    body = {**fields, "model": "m"}
    found = verify_choices(KEYS[0].public_keys, b"request", OUTPUTS, body)
    assert (found.version, found.algorithm) == signed


def test_who_says_no_version_signs_what_was_thought_too() -> None:
    signer = Signer(lambda: KEYS[0], lambda: 1.0)
    assert signer.covers_reasoning(None)
    body = {**signer.sign(b"request", OUTPUTS, "m", None), "model": "m"}
    assert verify_choices(KEYS[0].public_keys, b"request", OUTPUTS, body).version == 2


def request(*headers: tuple[bytes, bytes]) -> Request:
    return Request(b"POST", b"https", b"", b"/", headers)


def test_what_a_request_asks_for() -> None:
    assert asked_algorithm(request()) is None
    assert asked_algorithm(request(ASKED_FIELD)) is Algorithm.ED25519
    assert asked_algorithm(request((b"Tee-Signature", b"rsa-pss-sha256"))) is Algorithm.RSA


@pytest.mark.parametrize("value", [b"", b"ED25519", b"ed25519, rsa-pss-sha256", b"\xff"])
def test_what_nobody_signs_with_is_refused(value: bytes) -> None:
    with pytest.raises(ChatError) as caught:
        asked_algorithm(request((b"tee-signature", value)))
    assert caught.value.status == 400


def test_the_key_is_not_printed() -> None:
    assert "RSA" not in repr(Signer(lambda: KEYS[0], lambda: 0.0))
    assert repr(KEYS[0]) == "SigningKeys()"

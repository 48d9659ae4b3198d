"""Signatures are made with the key and at the time of the moment."""

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from enclave_server.chat.signing import Signer
from protocol.signature import output_of_choices, verify_answer

KEYS = [generate_private_key(65537, 2048) for _ in range(2)]
OUTPUTS = [{"content": "a"}, {"content": "b"}]


def test_the_key_and_the_time_of_the_moment_are_used() -> None:
    keys, times = iter(KEYS), iter((1.9, 2.9))
    signer = Signer(lambda: next(keys), lambda: next(times))
    for key, time in zip(KEYS, (1, 2), strict=True):
        fields = signer.sign(b"request", OUTPUTS)
        signed = verify_answer(key.public_key(), b"request", output_of_choices(OUTPUTS), fields)
        assert signed.timestamp == time


def test_the_key_is_not_printed() -> None:
    assert "RSA" not in repr(Signer(lambda: KEYS[0], lambda: 0.0))

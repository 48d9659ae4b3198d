"""Blind RSA against the vectors of RFC 9474, and what a dishonest end may send."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.blind_rsa import blind, blind_sign, encode_pss, read_residue, verify
from protocol.errors import MalformedMessage, SignatureInvalid
from tests.support.private_tokens import FIRST, ISSUER, OTHER_ISSUER, SIGN, in_order, operation

VECTORS = FIRST["rfc9474"]["vectors"]
PUBLIC = ISSUER.public_key()
N = PUBLIC.public_numbers().n
BYTES = 256


def test_every_vector_is_run() -> None:
    assert [case["name"].removeprefix("RSABSSA-SHA384-") for case in VECTORS] == [
        "PSS-Randomized",
        "PSS-Deterministic",
        "PSSZERO-Deterministic",
    ]


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    number = {name: int(case[name], 16) for name in ("n", "e", "d", "inv")}
    octets = {
        name: bytes.fromhex(case[name])
        for name in ("msg", "input_msg", "salt", "blinded_msg", "blind_sig", "sig")
    }
    public_key = RSAPublicNumbers(number["e"], number["n"]).public_key()
    assert octets["input_msg"] == bytes.fromhex(case["msg_prefix"]) + octets["msg"]
    factor = pow(number["inv"], -1, number["n"]).to_bytes(case["modulus_bits"] // 8, "big")
    length = int(case["sLen"], 16)
    source = in_order(octets["salt"], factor)
    blinded, blinding = blind(public_key, octets["input_msg"], random=source, salt_length=length)
    assert blinded == octets["blinded_msg"]
    assert blinding.inverse == number["inv"]
    private = operation(number["n"], number["d"])
    assert blind_sign(public_key, blinded, private) == octets["blind_sig"]
    assert blinding.finalize(octets["blind_sig"]) == octets["sig"]
    verify(public_key, octets["input_msg"], octets["sig"], salt_length=length)
    with pytest.raises(SignatureInvalid):
        verify(public_key, octets["input_msg"], octets["sig"], salt_length=48 - length)


def test_encoding_vector() -> None:
    case = {name: FIRST["emsa_pss"][name] for name in ("msg", "salt", "expected")}
    message, salt, expected = (bytes.fromhex(value) for value in case.values())
    assert encode_pss(message, 8 * len(expected) - 1, salt, hashlib.sha1) == expected


def test_an_encoding_has_its_least_size() -> None:
    # RFC 8017, Section 9.1.1, step 3: digest, salt, and two octets.
    assert len(encode_pss(b"", 777, bytes(48))) == 48 + 48 + 2
    with pytest.raises(ValueError, match="too short"):
        encode_pss(b"", 776, bytes(48))


@pytest.mark.parametrize("bits", [777, 783, 784, 785, 1023, 2047])
def test_an_encoding_fits_its_bits(bits: int) -> None:
    assert int.from_bytes(encode_pss(b"message", bits, bytes(48)), "big") < 1 << bits


@settings(max_examples=20, deadline=None)
@given(st.binary(max_size=200))
def test_what_is_blinded_and_signed_verifies(message: bytes) -> None:
    blinded, blinding = blind(PUBLIC, message)
    signature = blinding.finalize(blind_sign(PUBLIC, blinded, SIGN))
    verify(PUBLIC, message, signature)
    with pytest.raises(SignatureInvalid):
        verify(PUBLIC, message + b"\0", signature)


def test_the_same_message_is_never_blinded_alike() -> None:
    assert len({blind(PUBLIC, b"message")[0] for _ in range(4)}) == 4


def test_a_factor_is_drawn_until_it_is_below_the_modulus() -> None:
    salt, factor = bytes(48), (7).to_bytes(BYTES, "big")
    tried = in_order(salt, N.to_bytes(BYTES, "big"), b"\xff" * BYTES, bytes(BYTES), factor)
    _, blinding = blind(PUBLIC, b"message", random=tried)
    assert blinding.inverse * 7 % N == 1


def test_one_is_a_factor_and_nought_a_residue() -> None:
    """Nobody draws either; an end that left them out would not take what another may send."""
    _, blinding = blind(PUBLIC, b"message", random=in_order(bytes(48), (1).to_bytes(BYTES, "big")))
    assert blinding.inverse == 1
    assert blind_sign(PUBLIC, bytes(BYTES), SIGN) == bytes(BYTES)


@pytest.mark.parametrize("bits", [2041, 2044, 2048])
def test_numbers_have_as_many_octets_as_the_modulus(bits: int) -> None:
    public_key = RSAPublicNumbers(65537, (1 << bits) - 1).public_key()
    assert read_residue(public_key, bytes(BYTES)) == 0
    for wrong in (BYTES - 1, BYTES + 1):
        with pytest.raises(MalformedMessage):
            read_residue(public_key, bytes(wrong))


def test_what_is_blinded_has_as_many_octets_as_the_modulus() -> None:
    public_key = RSAPublicNumbers(65537, (1 << 2041) - 1).public_key()
    source = in_order(bytes(48), (1).to_bytes(BYTES, "big"))
    assert len(blind(public_key, b"message", random=source)[0]) == BYTES


def test_the_inverse_is_not_printed() -> None:
    _, blinding = blind(PUBLIC, b"message")
    assert str(blinding.inverse) not in repr(blinding)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(BYTES - 1),
        bytes(BYTES + 1),
        N.to_bytes(BYTES, "big"),
        (N + 1).to_bytes(BYTES, "big"),
        b"\xff" * BYTES,
    ],
    ids=["empty", "short", "long", "modulus", "modulus and one", "ones"],
)
def test_what_is_no_residue_is_refused_at_both_ends(data: bytes) -> None:
    _, blinding = blind(PUBLIC, b"message")
    with pytest.raises(MalformedMessage):
        blind_sign(PUBLIC, data, SIGN)
    with pytest.raises(MalformedMessage):
        blinding.finalize(data)
    with pytest.raises(SignatureInvalid):
        verify(PUBLIC, b"message", data)


def test_the_largest_residue_is_one() -> None:
    assert read_residue(PUBLIC, (N - 1).to_bytes(BYTES, "big")) == N - 1


def test_a_signature_of_something_else_is_not_finalized() -> None:
    blinded, blinding = blind(PUBLIC, b"message")
    other = blind(PUBLIC, b"message")[0]
    stranger = operation(N, OTHER_ISSUER.private_numbers().d)
    bad = [
        blind_sign(PUBLIC, other, SIGN),
        blinded,
        bytes(BYTES),
        stranger(read_residue(PUBLIC, blinded)).to_bytes(BYTES, "big"),
    ]
    for response in bad:
        with pytest.raises(SignatureInvalid):
            blinding.finalize(response)


@pytest.mark.parametrize(
    "wrong",
    [lambda m: 0, lambda m: SIGN(m) + N, lambda m: SIGN(m) - N, lambda m: SIGN(m) ^ 1],
    ids=["zero", "above", "below", "a bit"],
)
def test_a_wrong_operation_releases_nothing(wrong: Callable[[int], int]) -> None:
    blinded, _ = blind(PUBLIC, b"message")
    with pytest.raises(ArithmeticError):
        blind_sign(PUBLIC, blinded, wrong)


def test_a_modulus_with_a_small_factor_is_found_out() -> None:
    """A third of all messages share the factor, and so does every third r."""
    public_key = RSAPublicNumbers(65537, 3 * (1 << 2046 | 1)).public_key()
    factors = {False: 5, True: 9}
    refused = 0
    for salt in range(24):
        for is_multiple, factor in factors.items():
            source = in_order(salt.to_bytes(48, "big"), factor.to_bytes(BYTES, "big"))
            encoded = encode_pss(b"m", 2047, salt.to_bytes(48, "big"))
            if is_multiple or int.from_bytes(encoded, "big") % 3 == 0:
                refused += 1
                with pytest.raises(MalformedMessage):
                    blind(public_key, b"m", random=source)
    assert refused > 24


def test_the_modulus_is_the_signature_of_nothing() -> None:
    """Of nought it would be one, by its power alone."""
    nought, n = bytes(256), PUBLIC.public_numbers().n
    assert blind_sign(PUBLIC, nought, lambda _: 0) == nought
    for wrong in (n, -n):
        with pytest.raises(ArithmeticError):
            blind_sign(PUBLIC, nought, lambda _, wrong=wrong: wrong)  # type: ignore[misc]
    with pytest.raises(ArithmeticError, match="went wrong"):
        blind_sign(PUBLIC, (n - 1).to_bytes(256, "big"), lambda _: -1)

"""Keys of type 2: one form, one size, one exponent (protocol.token_key)."""

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage
from protocol.token_key import SPKI_BYTES, TokenKey
from tests.support.private_tokens import ISSUANCES, ISSUER, KEY, MORE, OTHER_KEY, load_issuer

SPKI = KEY.spki
N = ISSUER.public_key().public_numbers().n
RSA_ENCRYPTION = ISSUER.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("case", ISSUANCES, ids=lambda case: case["id"])
def test_vectors(case: dict[str, Any]) -> None:
    spki = bytes.fromhex(case["pkS"])
    key = TokenKey.decode(spki)
    assert key == TokenKey.from_public_key(load_issuer(case["skS"]).public_key())
    assert key.spki == spki
    token = bytes.fromhex(case["token"])
    assert key.key_id == token[66:98]
    assert key.truncated_id == bytes.fromhex(case["token_request"])[2]


def test_facts_of_the_form() -> None:
    facts = MORE["facts"]
    assert facts["spki_size_2048"] == SPKI_BYTES
    assert bytes.fromhex(facts["spki_algorithm_identifier"]) in SPKI


def test_a_library_reads_the_same_key() -> None:
    read = load_der_public_key(SPKI)
    assert isinstance(read, RSAPublicKey)
    assert read.public_numbers() == KEY.public_key.public_numbers()
    assert KEY.key_id == hashlib.sha256(SPKI).digest()


def test_keys_are_what_their_octets_are() -> None:
    assert TokenKey.decode(SPKI) == KEY != OTHER_KEY
    assert len({TokenKey.decode(SPKI), KEY, OTHER_KEY}) == 2


def changed(at: int, octets: bytes) -> bytes:
    return SPKI[:at] + octets + SPKI[at + len(octets) :]


@pytest.mark.parametrize(
    "spki",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(SPKI + b"\0", id="trailing"),
        pytest.param(RSA_ENCRYPTION, id="rsaEncryption"),
        pytest.param(SPKI[:-1] + b"\3", id="e=65539"),
        pytest.param(b"\x30\x82\x01\x50" + SPKI[4:-5] + b"\x02\x01\x03", id="e=3"),
        pytest.param(SPKI.replace(b"\x04\x02\x02", b"\x04\x02\x01"), id="SHA-256"),
        pytest.param(SPKI.replace(b"\xa2\x03\x02\x01\x30", b"\xa2\x03\x02\x01\x20"), id="salt-32"),
        pytest.param(changed(81, b"\x7f"), id="2047-bits"),
        pytest.param(changed(len(SPKI) - 6, b"\x00"), id="even"),
        pytest.param(SPKI[:81] + bytes(128) + SPKI[81:], id="3072-bits"),
        pytest.param(SPKI[:80] + SPKI[81:] + b"\0", id="no-sign-octet"),
    ],
)
def test_other_keys_and_other_forms_are_refused(spki: bytes) -> None:
    with pytest.raises(MalformedMessage):
        TokenKey.decode(spki)


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big") if size > 127 else b""
    return bytes([tag, 0x80 | len(octets) if octets else size]) + octets + content


def integer(number: int) -> bytes:
    return der(2, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def written(n: int, e: int = 65537, digest: int = 2, salt: int = 48) -> bytes:
    """Return a key of id-RSASSA-PSS in DER; `digest` is 1 for SHA-256, 2 for SHA-384."""
    names = ("2a864886f70d01010a", "2a864886f70d010108", f"6086480165030402{digest:02x}")
    pss, mgf1, sha2 = (der(6, bytes.fromhex(name)) for name in names)
    hashing = der(0x30, sha2)
    parameters = der(0xA0, hashing) + der(0xA1, der(0x30, mgf1 + hashing))
    algorithm = der(0x30, pss + der(0x30, parameters + der(0xA2, integer(salt))))
    return der(0x30, algorithm + der(3, b"\0" + der(0x30, integer(n) + integer(e))))


@pytest.mark.parametrize(
    "spki",
    [
        pytest.param(written(N, digest=1), id="SHA-256"),
        pytest.param(written(N, digest=1, salt=32), id="SHA-256, salt 32"),
        pytest.param(written(N, salt=32), id="salt 32"),
        pytest.param(written(N << 1024 | 1), id="3072 bits"),
        pytest.param(written(N >> 1 | 1), id="2047 bits"),
        pytest.param(written(N, 3), id="e=3"),
    ],
)
def test_keys_that_are_sound_and_of_another_kind_are_refused(spki: bytes) -> None:
    """The cases above break the form of a key; these keep it."""
    assert isinstance(load_der_public_key(spki), RSAPublicKey)
    with pytest.raises(MalformedMessage):
        TokenKey.decode(spki)
    assert TokenKey.decode(written(N)) == KEY


def test_every_truncation_is_refused() -> None:
    for end in range(len(SPKI)):
        with pytest.raises(MalformedMessage):
            TokenKey.decode(SPKI[:end])


@given(st.integers(0, 8 * len(SPKI) - 1))
def test_any_other_bit_is_another_key_or_none(bit: int) -> None:
    spki = bytearray(SPKI)
    spki[bit // 8] ^= 1 << bit % 8
    try:
        key = TokenKey.decode(bytes(spki))
    except MalformedMessage:
        return
    assert 81 <= bit // 8 < len(SPKI) - 5
    assert key != KEY
    assert key.spki == spki


@pytest.mark.parametrize(
    "numbers",
    [
        RSAPublicNumbers(3, N),
        RSAPublicNumbers(65537, N << 1024 | 1),
        RSAPublicNumbers(65537, N >> 1),
    ],
    ids=["e=3", "3072", "2047"],
)
def test_an_issuer_cannot_tell_another_key(numbers: RSAPublicNumbers) -> None:
    with pytest.raises(ValueError, match="2048 bits"):
        TokenKey.from_public_key(numbers.public_key())


def test_a_key_is_shown_and_compared_by_what_names_it() -> None:
    again = TokenKey.decode(SPKI)
    assert repr(again) == f"TokenKey(key_id={KEY.key_id!r})"
    assert (again, hash(again)) == (KEY, hash(KEY))
    assert again != OTHER_KEY

"""HKDF against RFC 5869, Appendix A, as far as its outputs are one block, and against `hmac`."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import hkdf

CASES = [
    # A.1: the first block of 42 octets.
    (
        "0b" * 22,
        "000102030405060708090a0b0c",
        "f0f1f2f3f4f5f6f7f8f9",
        "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf",
    ),
    # A.3: neither salt nor info.
    (
        "0b" * 22,
        "",
        "",
        "19ef24a32c717b167f33a91d6f648bdf96596776afdb6377ac434c1c293ccb04",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d",
    ),
]


@pytest.mark.parametrize(("secret", "salt", "info", "prk", "block"), CASES)
def test_vectors(secret: str, salt: str, info: str, prk: str, block: str) -> None:
    assert hkdf.extract(bytes.fromhex(salt), bytes.fromhex(secret)).hex() == prk
    assert hkdf.expand(bytes.fromhex(prk), bytes.fromhex(info), 32).hex() == block


@given(st.binary(), st.binary(), st.integers(1, 32))
def test_expand_is_the_standard_librarys_hmac(key: bytes, info: bytes, length: int) -> None:
    expected = hmac.digest(key, info + b"\x01", "sha256")[:length]
    assert hkdf.expand(key, info, length) == expected
    mac = hkdf.keyed(key)
    assert hkdf.expand_keyed(mac, info, length) == hkdf.expand_keyed(mac, info, length) == expected


def test_expand_is_one_block() -> None:
    for length in (0, 33):
        with pytest.raises(ValueError, match="one block"):
            hkdf.expand(bytes(32), b"", length)


def test_labeled_info() -> None:
    assert hkdf.labeled_info(b"HPKE-v1", b"key", b"context", 258) == b"\x01\x02HPKE-v1keycontext"

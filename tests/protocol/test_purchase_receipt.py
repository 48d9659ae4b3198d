"""Receipts of purchases: what they bind, and what is refused."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from protocol import base64url
from protocol.errors import MalformedMessage, ProtocolError, SignatureInvalid
from protocol.purchase_receipt import Receipt

KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
PUBLIC = KEY.public_key().public_bytes_raw()
NUMBERS = st.integers(0, (1 << 63) - 1)
REQUEST = b"a request"
RECEIPT = Receipt(4, 96, 1_765_000_000).signed(REQUEST, KEY)


@given(NUMBERS, NUMBERS, NUMBERS, st.binary())
def test_round_trip(amount: int, balance: int, time: int, request: bytes) -> None:
    receipt = Receipt(amount, balance, time).signed(request, KEY)
    value = receipt.encode()
    assert len(value) == 120
    assert Receipt.decode(value) == receipt
    receipt.verify(request, PUBLIC)


def test_a_receipt_binds_request_numbers_and_key() -> None:
    RECEIPT.verify(REQUEST, PUBLIC)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    for request, key in ((REQUEST + b".", PUBLIC), (REQUEST, other), (REQUEST, b"short")):
        with pytest.raises(SignatureInvalid):
            RECEIPT.verify(request, key)
    data = base64url.decode(RECEIPT.encode())
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        with pytest.raises(SignatureInvalid):
            Receipt.decode(base64url.encode(changed)).verify(REQUEST, PUBLIC)


@pytest.mark.parametrize("size", [0, 87, 89])
def test_other_sizes_are_refused(size: int) -> None:
    with pytest.raises(MalformedMessage):
        Receipt.decode(base64url.encode(bytes(size)))


def test_numbers_that_no_ledger_has_are_refused() -> None:
    with pytest.raises(MalformedMessage):
        Receipt.decode(base64url.encode(b"\x80" + bytes(87)))
    for numbers in ((-1, 0, 0), (0, 1 << 63, 0)):
        with pytest.raises(ValueError, match="numbers"):
            Receipt(*numbers)


def test_what_is_not_signed_is_not_sent() -> None:
    with pytest.raises(ValueError, match="signed"):
        Receipt(1, 2, 3).encode()


@given(st.binary())
def test_whatever_comes_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert Receipt.decode(data).encode() == data

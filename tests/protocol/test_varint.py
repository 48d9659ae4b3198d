"""QUIC variable-length integers against the vectors of RFC 9000 and other implementations."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import varint
from protocol.errors import IncompleteMessage
from tests.support.vector_files import load

VECTORS = load("binary-http.json")
SHORTEST = [case for case in VECTORS["varints"] if case["hex"] != "4025"]


def test_every_vector_is_run() -> None:
    assert len(VECTORS["varints"]) == 14
    assert len(VECTORS["varint_errors"]) == 4


@pytest.mark.parametrize("case", VECTORS["varints"], ids=lambda case: case["hex"])
def test_decodes(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["hex"])
    assert varint.decode(data, 0) == (case["value"], len(data))
    assert varint.decode(b"\xff" + data + b"\xff", 1) == (case["value"], 1 + len(data))


@pytest.mark.parametrize("case", SHORTEST, ids=lambda case: case["hex"])
def test_encodes_shortest(case: dict[str, Any]) -> None:
    assert varint.encode(case["value"]).hex() == case["hex"]


@pytest.mark.parametrize("case", VECTORS["varint_errors"], ids=lambda case: case["hex"] or "empty")
def test_refuses_what_is_cut(case: dict[str, str]) -> None:
    with pytest.raises(IncompleteMessage):
        varint.decode(bytes.fromhex(case["hex"]), 0)


@pytest.mark.parametrize(
    ("value", "size"),
    [(0, 1), (63, 1), (64, 2), (16383, 2), (16384, 4), ((1 << 30) - 1, 4), (1 << 30, 8)],
)
def test_no_encoding_is_longer_than_it_has_to_be(value: int, size: int) -> None:
    assert len(varint.encode(value)) == size
    assert varint.encode(value) == varint.encode_sized(value, size)
    assert varint.decode(varint.encode(value), 0) == (value, size)


@pytest.mark.parametrize("value", [-1, varint.MAXIMUM + 1])
def test_refuses_what_does_not_fit(value: int) -> None:
    with pytest.raises(ValueError, match="out of range"):
        varint.encode(value)


@given(st.integers(0, varint.MAXIMUM))
def test_what_is_encoded_is_decoded(value: int) -> None:
    data = varint.encode(value)
    assert varint.decode(data, 0) == (value, len(data))
    for cut in range(len(data)):
        with pytest.raises(IncompleteMessage):
            varint.decode(data[:cut], 0)


def test_encodes_in_a_given_size() -> None:
    assert varint.encode_sized(37, 2).hex() == "4025"
    for size, value in ((1, 63), (2, 63), (4, 0), (8, varint.MAXIMUM)):
        data = varint.encode_sized(value, size)
        assert varint.decode(data, 0) == (value, size)
    for size, value in ((1, 64), (2, 1 << 14), (4, 1 << 30), (8, 1 << 62), (2, -1), (3, 0)):
        with pytest.raises(ValueError, match=r"varint|tuple"):
            varint.encode_sized(value, size)

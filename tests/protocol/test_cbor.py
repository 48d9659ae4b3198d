"""The strict reader of CBOR: what it takes, what it refuses, and that cbor2 reads the same."""

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import cbor
from protocol.errors import MalformedMessage

ACCEPTED = {
    "00": 0,
    "17": 23,
    "1818": 24,
    "190100": 256,
    "1a00010000": 1 << 16,
    "1b0000000100000000": 1 << 32,
    "1bffffffffffffffff": (1 << 64) - 1,
    "20": -1,
    "3822": -35,
    "3bffffffffffffffff": -(1 << 64),
    "40": b"",
    "43010203": b"\x01\x02\x03",
    "60": "",
    "62c3bc": "ü",
    "80": [],
    "83010203": [1, 2, 3],
    "9fff": [],
    "9f01ff": [1],
    "a0": {},
    "a1016161": {1: "a"},
    "bfff": {},
    "bf6161f6ff": {"a": None},
    "f4": False,
    "f5": True,
    "f6": None,
    "8181818100": [[[[0]]]],
}

REFUSED = {
    "": "nothing",
    "0000": "trailing byte",
    "f6f6": "trailing item",
    "18": "head cut off",
    "1900": "argument cut off",
    "4301": "byte string cut off",
    "8201": "array cut off",
    "a101": "map cut off",
    "9f01": "array without its break",
    "bf01": "map cut off before a value",
    "bf0102": "map without its break",
    "bf01ff": "break in place of a value",
    "82ff": "break in place of an element",
    "ff": "break alone",
    "bfffff": "bytes after the break",
    "1800": "zero in two bytes",
    "1817": "23 in two bytes",
    "1900ff": "255 in three bytes",
    "1a0000ffff": "65535 in five bytes",
    "1b00000000ffffffff": "2^32 - 1 in nine bytes",
    "3800": "-1 in two bytes",
    "580101": "length 1 in two bytes",
    "780161": "text length 1 in two bytes",
    "98010f": "array length 1 in two bytes",
    "b8010102": "map length 1 in two bytes",
    "1c": "reserved 28",
    "1d": "reserved 29",
    "1e": "reserved 30",
    "1c" + "ff" * 16: "a number of 128 bits",
    "1d" + "ff" * 32: "a number of 256 bits",
    "1e" + "ff" * 64: "a number of 512 bits",
    "9ffe": "an array that ends with another than the break",
    "bffe": "a map that does",
    "1f": "an integer of indefinite length",
    "3f": "a negative integer of indefinite length",
    "5f4101ff": "a byte string in pieces",
    "7f6161ff": "a text string in pieces",
    "c000": "tag 0",
    "c11a00000000": "a time",
    "c24101": "a big number",
    "d28440a04040": "tag 18, which only COSE may take off",
    "d9d9f700": "self-described CBOR",
    "d81c00": "a shared value",
    "d81d00": "a reference",
    "f7": "undefined",
    "f8ff": "simple value 255",
    "f814": "false in two bytes",
    "f0": "simple value 16",
    "f93c00": "half-precision 1.0",
    "fa3f800000": "single-precision 1.0",
    "fb3ff0000000000000": "double-precision 1.0",
    "f97e00": "NaN",
    "a201000101": "key 1 twice",
    "a2616100616101": "key a twice",
    "bf01000101ff": "key 1 twice, indefinite",
    "a2810100f500": "an array as key",
    "a2f500f400": "booleans as keys",
    "a2f5000100": "true, which Python takes for 1",
    "a1f600": "null as key",
    "a1410000": "bytes as key",
    "a1a000": "a map as key",
    "61ff": "text that is not UTF-8",
    "62c328": "text that is not UTF-8",
    "63eda080": "a lone surrogate",
    "818181818100": "nested five deep",
    "a101a101a101a101a10101": "maps nested five deep",
    "5bffffffffffffffff": "a length of 2^64 - 1",
    "9bffffffffffffffff": "2^64 - 1 elements",
    "bbffffffffffffffff": "2^64 - 1 entries",
}


@pytest.mark.parametrize(("encoded", "value"), ACCEPTED.items())
def test_accepted(encoded: str, value: object) -> None:
    data = bytes.fromhex(encoded)
    assert cbor.decode(data) == value
    assert type(cbor.decode(data)) is type(value)


@pytest.mark.parametrize("encoded", REFUSED, ids=REFUSED.get)
def test_refused(encoded: str) -> None:
    with pytest.raises(MalformedMessage):
        cbor.decode(bytes.fromhex(encoded))


@pytest.mark.parametrize("encoded", ACCEPTED)
def test_no_prefix_and_no_extension_is_an_item(encoded: str) -> None:
    data = bytes.fromhex(encoded)
    for end in range(len(data)):
        with pytest.raises(MalformedMessage):
            cbor.decode(data[:end])
    with pytest.raises(MalformedMessage):
        cbor.decode(data + b"\x00")


INTEGERS = st.integers(-(1 << 64), (1 << 64) - 1)
SCALARS = INTEGERS | st.binary() | st.text() | st.booleans() | st.none()
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.integers(0, 40) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


def depth(value: Any) -> int:
    match value:
        case list():
            return 1 + max(map(depth, value), default=0)
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
    return 0


@given(VALUES)
def test_what_another_encoder_writes_is_read(value: Any) -> None:
    if depth(value) <= cbor.MAX_DEPTH:
        assert cbor.decode(cbor2.dumps(value)) == value


@given(st.binary(max_size=64))
def test_arbitrary_bytes_are_read_as_others_read_them(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except MalformedMessage:
        return
    assert cbor2.loads(data) == value

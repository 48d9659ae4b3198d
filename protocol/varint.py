"""QUIC variable-length integers (RFC 9000, Section 16)."""

from protocol.errors import IncompleteMessage

MAXIMUM = (1 << 62) - 1
"""The largest value that eight bytes hold beside their two-bit prefix."""


def encode(value: int) -> bytes:
    """Return the shortest encoding of `value`."""
    if 0 <= value < 1 << 6:
        return value.to_bytes(1, "big")  # without the loop: half a microsecond an answer
    for prefix, size in ((1, 2), (2, 4), (3, 8)):
        bits = 8 * size - 2  # the two top bits hold the prefix
        if 0 <= value < 1 << bits:
            return (prefix << bits | value).to_bytes(size, "big")
    raise ValueError(f"varint out of range: {value}")


def encode_sized(value: int, size: int) -> bytes:
    """Return the encoding of `value` in `size` bytes (1, 2, 4 or 8), be it the shortest or not."""
    prefix = (1, 2, 4, 8).index(size)
    bits = 8 * size - 2
    if not 0 <= value < 1 << bits:
        raise ValueError(f"varint out of range: {value}")
    return (prefix << bits | value).to_bytes(size, "big")


def decode(data: bytes | bytearray, offset: int) -> tuple[int, int]:
    """Return the value at `offset`, in any of its encodings, and the offset after it."""
    if offset >= len(data):
        raise IncompleteMessage("varint")
    first = data[offset]
    if first < 0x40:
        return first, offset + 1
    size = 1 << (first >> 6)
    end = offset + size
    if end > len(data):
        raise IncompleteMessage("varint")
    return int.from_bytes(data[offset:end], "big") & (1 << (8 * size - 2)) - 1, end

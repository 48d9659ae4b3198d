"""Variable-length integers: what is read fits its octets, and the shortest form reads back."""

from protocol import varint
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt

FAULTS = (
    slips("protocol.varint.decode"),
    returns("protocol.varint.decode", lambda found: (found[0], found[1] + 1)),
)


def seeds() -> list[bytes]:
    """Return the examples of RFC 9000, Appendix A.1, and the ends of each size."""
    examples = [bytes.fromhex(h) for h in ("c2197c5eff14e88c", "9d7f3e7d", "7bbd", "25", "4025")]
    ends = (0, 63, 64, (1 << 14) - 1, 1 << 14, (1 << 30) - 1, 1 << 30, varint.MAXIMUM)
    return [*examples, *map(varint.encode, ends), b"", b"\xc0"]


def run(data: bytes) -> None:
    """Read a number anywhere in `data`, and write it."""
    for offset in range(min(len(data), 8) + 1):
        found = attempt(varint.decode, data, offset)
        size = 1 << (data[offset] >> 6) if offset < len(data) else 1
        if offset + size > len(data):
            assert found is REFUSED
            continue
        assert not isinstance(found, Refused)
        value, end = found
        assert end == offset + size
        assert varint.encode_sized(value, size) == data[offset:end]
        shortest = varint.encode(value)
        assert len(shortest) <= size
        assert varint.decode(shortest, 0) == (value, len(shortest))

"""Length padding: few sizes for short messages, Padmé for long ones.

Padmé is from "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs"
(PETS 2019), Section 4: the size keeps only as many significant bits as its own logarithm has,
which costs at most 12 % and leaves O(log log size) bits to an observer.
"""

SMALLEST_BUCKET = 1 << 10
"""Most prompts and short answers fit here and so look alike."""

LARGEST_BUCKET = 1 << 16
"""Above this, doubling would waste more than Padmé's 12 % is worth hiding."""


def bucket(size: int) -> int:
    """Return the size in bytes, at least `size`, that a message of `size` bytes is padded to."""
    if size < 0:
        raise ValueError(f"negative size: {size}")
    if size <= SMALLEST_BUCKET:
        return SMALLEST_BUCKET
    if size <= LARGEST_BUCKET:
        return 1 << (size - 1).bit_length()
    return _padme(size)


def pad(message: bytes, filler: bytes = b"\0") -> bytes:
    """Return `message`, in a format that ignores trailing `filler`, filled up to its bucket."""
    return message.ljust(bucket(len(message)), filler)


def _padme(size: int) -> int:
    exponent = size.bit_length() - 1
    kept_bits = exponent.bit_length()
    mask = (1 << (exponent - kept_bits)) - 1
    return (size + mask) & ~mask

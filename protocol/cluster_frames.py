"""Frames between enclaves of a cluster: two octets of length, then so many octets."""

from protocol.errors import MalformedMessage

MAX_FRAME_BYTES = 16 * 1024
"""An attestation document has a few thousand, and comes with a key of 1,216."""

_LENGTH_BYTES = 2


def encode_frame(content: bytes) -> bytes:
    """Return `content` as a frame; ValueError for one that is empty or too long."""
    if not 0 < len(content) <= MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(content)} octets")
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


class FrameReader:
    """Takes octets in pieces of any size and gives whole frames."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether no frame has begun: the only place where a peer may end."""
        return not self._held

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that `data` completes; MalformedMessage for a length out of range."""
        self._held += data
        frames = []
        while len(self._held) >= _LENGTH_BYTES:
            size = int.from_bytes(self._held[:_LENGTH_BYTES], "big")
            # Refused by its length alone: nothing is held for a frame that would not be read.
            if not 0 < size <= MAX_FRAME_BYTES:
                raise MalformedMessage("a frame is empty or too long")
            end = _LENGTH_BYTES + size
            if len(self._held) < end:
                break
            frames.append(bytes(self._held[_LENGTH_BYTES:end]))
            del self._held[:end]
        return frames

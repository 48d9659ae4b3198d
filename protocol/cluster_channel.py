"""The sealed channel between a follower and its leader, once each has attested a key to the other.

Each side encapsulates to the key that the other's document binds, so that there are two secrets:
only the follower's enclave can have the one, only the leader's the other. All keys come from both
(RFC 9180, Section 5.3, for each export), so that nobody else reads what passes, and nobody else can
have written it: a host that sees both documents knows neither secret. The associated data of each
frame says whether it ends a message; its nonce is its number (RFC 8446, Section 5.3, as for TLS).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from protocol import hpke
from protocol.cluster_frames import MAX_FRAME_BYTES
from protocol.errors import KeyRejected, MalformedMessage
from protocol.hkdf import HASH_SIZE, expand, extract
from protocol.hpke import Aead

MAX_MESSAGE_BYTES = 64 * 1024
"""Eight generations of keys with their tables, signing keys, an administrator's secrets."""

_PIECE_BYTES = MAX_FRAME_BYTES - hpke.TAG_SIZE
_MORE, _LAST = b"more", b"last"
_EXPORT = b"cluster channel"


class Sealing:
    """One direction of a channel, at its writing end."""

    __slots__ = ("_cipher", "_sequence")

    def __init__(self, key: bytes) -> None:
        self._cipher = hpke.new_cipher(Aead.AES_256_GCM, key)
        self._sequence = 0

    def seal(self, message: bytes) -> list[bytes]:
        """Return the frames' contents for `message`; ValueError for one that is too long."""
        if not 0 < len(message) <= MAX_MESSAGE_BYTES:
            raise ValueError(f"a message of {len(message)} octets")
        pieces = list(_pieces(message))
        last = len(pieces) - 1
        return [self._seal(each, _LAST if at == last else _MORE) for at, each in enumerate(pieces)]

    def _seal(self, piece: bytes, mark: bytes) -> bytes:
        sealed = self._cipher.encrypt(_nonce(self._sequence), piece, mark)
        self._sequence += 1
        return sealed


class Opening:
    """One direction of a channel, at its reading end."""

    __slots__ = ("_cipher", "_held", "_sequence")

    def __init__(self, key: bytes) -> None:
        self._cipher = hpke.new_cipher(Aead.AES_256_GCM, key)
        self._sequence = 0
        self._held = bytearray()

    def open(self, content: bytes) -> bytes | None:
        """Return the message that this frame ends, None if more follow.

        KeyRejected for a frame that is not the peer's next one, MalformedMessage for a message that
        is too long; the channel is of no use after either.
        """
        # Whether it ends a message stands in no octet: only one of the two marks opens it.
        piece, is_last = self._piece(content)
        self._sequence += 1
        self._held += piece
        if len(self._held) > MAX_MESSAGE_BYTES:
            raise MalformedMessage("a message of the channel is too long")
        if not is_last:
            return None
        message, self._held = bytes(self._held), bytearray()
        return message

    def _piece(self, content: bytes) -> tuple[bytes, bool]:
        nonce = _nonce(self._sequence)
        try:
            return hpke.open_with(self._cipher, nonce, content, _LAST), True
        except KeyRejected:
            return hpke.open_with(self._cipher, nonce, content, _MORE), False


@dataclass(frozen=True, slots=True)
class Channel:
    """Both directions, as one end has them."""

    sealing: Sealing
    opening: Opening


def leader_channel(to_follower: hpke.Sender, from_follower: hpke.Recipient) -> Channel:
    """Return the leader's end, of the secret that it sent and of the one that it was sent."""
    down, up = _keys(
        to_follower.export(_EXPORT, HASH_SIZE), from_follower.export(_EXPORT, HASH_SIZE)
    )
    return Channel(Sealing(down), Opening(up))


def follower_channel(from_leader: hpke.Recipient, to_leader: hpke.Sender) -> Channel:
    """Return the follower's end."""
    down, up = _keys(from_leader.export(_EXPORT, HASH_SIZE), to_leader.export(_EXPORT, HASH_SIZE))
    return Channel(Sealing(up), Opening(down))


def _keys(leaders: bytes, followers: bytes) -> tuple[bytes, bytes]:
    """Return the keys of the leader's and of the follower's direction."""
    # Both have a fixed length, so that their concatenation can be read in one way only.
    secret = extract(b"", leaders + followers)
    return expand(secret, b"leader to follower", 32), expand(secret, b"follower to leader", 32)


def _nonce(sequence: int) -> bytes:
    # A key serves one direction of one connection, and a message a second does not reach 2^96.
    return sequence.to_bytes(hpke.NONCE_SIZE, "big")


def _pieces(message: bytes) -> Iterator[bytes]:
    for at in range(0, len(message), _PIECE_BYTES):
        yield message[at : at + _PIECE_BYTES]

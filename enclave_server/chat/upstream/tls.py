"""TLS between buffers in memory (RFC 8446), without I/O.

asyncio's own keeps a quarter of a megabyte for every connection to read into, and cannot be asked
for what has arrived without waiting.
"""

import ssl
from collections.abc import Iterator

# RFC 8446, Section 5.1: a record's plaintext is at most 2^14 octets. OpenSSL's buffers in memory
# never shrink, so that more at once would be kept as long as the connection is.
RECORD_BYTES = 1 << 14

# What may arrive that says nothing. A record of one octet has 22 more, tickets have some thousand;
# without a bound, keys could be updated for ever (RFC 8446, Section 4.6.3).
IDLE_BYTES = 4 * RECORD_BYTES
IDLE_BYTES_PER_OCTET = 32


class Tls:
    """The client's side of one connection: octets in, octets out; what arrives is decrypted."""

    __slots__ = ("_arrived", "_idle", "_object", "_to_send", "is_closed")

    def __init__(self, context: ssl.SSLContext, name: str | None) -> None:
        """The peer's certificate must be for `name`; raises ValueError without one."""
        if not name:
            # OpenSSL would take it for the wish not to compare names.
            raise ValueError("no name to compare the peer's certificate with")
        self._arrived, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._arrived, self._to_send, server_hostname=name)
        self._idle = 0  # octets that arrived, less what those allow that were decrypted
        self.is_closed = False

    def shake_hands(self) -> bool:
        """Go on with the handshake; return whether it is done; raises ssl.SSLError."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def receive(self, data: bytes) -> None:
        """Take what has arrived during the handshake; none means that the peer has closed."""
        if data:
            self._arrived.write(data)
        else:
            self._arrived.write_eof()

    def pending(self) -> bytes:
        """Return what is to be sent."""
        return self._to_send.read()

    def encrypt(self, data: bytes) -> Iterator[bytes]:
        """Return what is to be sent for `data`, a record at a time."""
        for start in range(0, len(data), RECORD_BYTES):
            self._object.write(data[start : start + RECORD_BYTES])
            yield self.pending()

    def decrypt(self, data: bytes) -> bytes:
        """Return what `data` completes; raises ssl.SSLError, also where too much says nothing.

        `is_closed` tells that the peer has closed its side.
        """
        self._arrived.write(data)
        pieces = []
        try:
            while (self._arrived.pending or self._object.pending()) and not self.is_closed:
                piece = self._object.read(RECORD_BYTES)
                self.is_closed = not piece
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass  # the rest of a record is yet to come
        said = b"".join(pieces)
        self._idle = max(0, self._idle + len(data) - IDLE_BYTES_PER_OCTET * len(said))
        if self._idle > IDLE_BYTES:
            raise ssl.SSLError("too many records that say nothing")
        return said

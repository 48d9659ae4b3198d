"""Chunked Oblivious HTTP (draft-ietf-ohai-chunked-ohttp-08), both roles, in pieces of any size."""

import math
import secrets
from collections.abc import Callable, Iterable

from protocol import hpke, varint
from protocol.encapsulation import (
    HEADER_SIZE,
    GatewayKey,
    RandomBytes,
    find_acceptor,
    response_cipher,
    response_nonce_size,
    setup_client,
)
from protocol.errors import (
    IncompleteMessage,
    KeyRejected,
    MalformedMessage,
    TruncatedMessage,
)
from protocol.key_config import KeyConfig

CHUNK_SIZE = 1 << 14
"""Plaintext bytes in the largest chunk sent; receivers "MUST support" it (Section 3)."""

MAX_SEALED_SIZE = 1 << 25
"""Sealed bytes in the largest chunk accepted: some senders put a whole body into one chunk."""

LONG_CHUNK_SIZE = 1 << 16
"""Sealed bytes in a chunk above which opening it takes longer than a step may."""

MAX_REQUEST_CHUNKS = 1 << 16
"""Chunks in one request: each costs a decryption, however small it is. Answers have no limit."""

_REQUEST_LABEL = b"message/bhttp chunked request"
_RESPONSE_LABEL = b"message/bhttp chunked response"
_FINAL = b"final"
_FINAL_LENGTH = b"\0"

_Seal = Callable[[bytes, bytes], bytes]
_Open = Callable[[bytes | memoryview, bytes], bytes]
_Begin = Callable[[bytearray], _Open | None]


class _Sealer:
    """Cuts plaintext into chunks and seals them in order; `prefix` goes before the first."""

    __slots__ = ("_prefix", "_seal")

    def __init__(self, prefix: bytes, seal: _Seal) -> None:
        self._prefix = prefix
        self._seal: _Seal | None = seal

    def seal(self, data: bytes) -> bytes:
        """Return `data` as non-final chunks: none for no data, since they may not be empty."""
        seal = self._require()
        parts = [self._take_prefix()]
        for start in range(0, len(data), CHUNK_SIZE):
            sealed = seal(data[start : start + CHUNK_SIZE], b"")
            parts += (varint.encode(len(sealed)), sealed)
        return b"".join(parts)

    def finish(self, data: bytes = b"") -> bytes:
        """Return `data` as the last chunks, the final one among them."""
        seal = self._require()
        final_start = max(0, len(data) - 1) // CHUNK_SIZE * CHUNK_SIZE
        before = self.seal(data[:final_start])
        self._seal = None
        return before + _FINAL_LENGTH + seal(data[final_start:], _FINAL)

    def _require(self) -> _Seal:
        if self._seal is None:
            raise ValueError("the final chunk was sealed before")
        return self._seal

    def _take_prefix(self) -> bytes:
        prefix, self._prefix = self._prefix, b""
        return prefix


class RequestSealer(_Sealer):
    """Seals one request; the header comes with the first output."""

    __slots__ = ()


class ResponseSealer(_Sealer):
    """Seals one response; the response nonce comes with the first output."""

    __slots__ = ()


class _Opener:
    """Opens chunks in order.

    `begin` takes what comes before the first one out of the buffer, and returns what opens them;
    it returns None as long as not all of that has come.
    """

    __slots__ = (
        "_begin",
        "_buffer",
        "_chunks_left",
        "_final_seen",
        "_open",
        "_over",
        "_wanted",
    )

    def __init__(self, begin: _Begin, max_chunks: float = math.inf) -> None:
        self._chunks_left = max_chunks
        self._begin = begin
        self._buffer = bytearray()
        self._open: _Open | None = None
        self._final_seen = False
        self._over = False
        self._wanted = 0  # bytes in the buffer that complete a long chunk, where one has begun

    def is_long(self, count: int) -> bool:
        """Whether `count` more bytes complete a long chunk; of 0, whether `finish` opens one."""
        held = len(self._buffer)
        if not count:
            return self._final_seen and held > LONG_CHUNK_SIZE
        return 0 < self._wanted <= held + count

    def feed(self, data: bytes) -> list[bytes]:
        self._require_more()
        self._buffer += data
        # Once a chunk failed, the ones after it would open under the counters that follow, and
        # an answer would lack a piece without anybody noticing.
        self._over = True
        pieces = self._open_complete()
        self._over = False
        return pieces

    def finish(self) -> bytes:
        self._require_more()
        self._over = True
        if self._open is None or not self._final_seen:
            raise TruncatedMessage("no final chunk")
        return self._open(memoryview(self._buffer), _FINAL)

    def _require_more(self) -> None:
        if self._over:
            raise ValueError("the message has ended or failed before")

    def _open_complete(self) -> list[bytes]:
        if self._open is None:
            # Kept, it would close a circle, and keys would stay until the garbage is collected.
            begin, self._begin = self._begin, _spent
            self._open = begin(self._buffer)
            if self._open is None:
                self._begin = begin
                return []
        pieces = [_not_empty(self._open(sealed, b"")) for sealed in self._complete_chunks()]
        if len(self._buffer) > MAX_SEALED_SIZE:
            raise MalformedMessage("chunk is too long")
        return pieces

    def _complete_chunks(self) -> list[bytes]:
        chunks = []
        offset = 0
        while not self._final_seen:
            try:
                length, start = varint.decode(self._buffer, offset)
            except IncompleteMessage:
                break
            end = start + length
            if length > MAX_SEALED_SIZE:
                raise MalformedMessage("chunk is too long")
            if end > len(self._buffer):
                self._wanted = end - offset if length > LONG_CHUNK_SIZE else 0
                break
            self._wanted = 0
            if length:
                chunks.append(bytes(memoryview(self._buffer)[start:end]))
            self._final_seen = not length
            self._chunks_left -= 1
            if self._chunks_left < 0:
                raise MalformedMessage("too many chunks")
            offset = end
        del self._buffer[:offset]
        return chunks


def _spent(buffer: bytearray) -> _Open:
    raise ValueError("begun before")


class RequestOpener:
    """Opens one request, in pieces of any size; ValueError after its end or a failure."""

    __slots__ = ("_key_id", "_keys", "_opener", "_recipient")

    def __init__(self, keys: Iterable[GatewayKey]) -> None:
        self._keys = tuple(keys)
        self._recipient: hpke.Recipient | None = None
        self._opener = _Opener(self._begin, MAX_REQUEST_CHUNKS)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the plaintext of the non-final chunks that `data` completes."""
        return self._opener.feed(data)

    def is_long(self, count: int) -> bool:
        """Whether to feed `count` more bytes opens a chunk that is longer than LONG_CHUNK_SIZE.

        Of 0, whether `finish` does.
        """
        return self._opener.is_long(count)

    def finish(self) -> tuple[bytes, "GatewayContext"]:
        """Return the plaintext of the final chunk and the context that seals the answer.

        TruncatedMessage when there is no final chunk.
        """
        final = self._opener.finish()
        if self._recipient is None:
            raise TruncatedMessage("no header")
        return final, GatewayContext(self._key_id, self._recipient)

    def _begin(self, buffer: bytearray) -> _Open | None:
        if len(buffer) < HEADER_SIZE:
            return None
        acceptor = find_acceptor(self._keys, bytes(buffer[:HEADER_SIZE]), _REQUEST_LABEL)
        prefix_size = HEADER_SIZE + acceptor.enc_size
        if len(buffer) < prefix_size:
            return None
        self._key_id = buffer[0]
        self._recipient = acceptor.accept(bytes(buffer[HEADER_SIZE:prefix_size]))
        del buffer[:prefix_size]
        return self._recipient.open


class ResponseOpener:
    """Opens one response, in pieces of any size; ValueError after its end or a failure."""

    __slots__ = ("_opener", "_sender")

    def __init__(self, sender: hpke.Sender) -> None:
        self._sender = sender
        self._opener = _Opener(self._begin)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the plaintext of the non-final chunks that `data` completes."""
        return self._opener.feed(data)

    def finish(self) -> bytes:
        """Return the plaintext of the final chunk; TruncatedMessage when there is none."""
        return self._opener.finish()

    def _begin(self, buffer: bytearray) -> _Open | None:
        nonce_size = response_nonce_size(self._sender.aead)
        if len(buffer) < nonce_size:
            return None
        response_nonce = bytes(buffer[:nonce_size])
        del buffer[:nonce_size]
        return _ResponseKey(self._sender, response_nonce).open


class ClientContext:
    """The one thing that can open the answer to a chunked request, once."""

    __slots__ = ("_sender",)

    def __init__(self, sender: hpke.Sender) -> None:
        self._sender: hpke.Sender | None = sender

    def open_response(self) -> ResponseOpener:
        """Return the opener of the answer; ValueError the second time."""
        if self._sender is None:
            raise ValueError("a response was opened before")
        sender, self._sender = self._sender, None
        return ResponseOpener(sender)


class GatewayContext:
    """The one thing that can seal the answer to an opened chunked request, once."""

    __slots__ = ("_recipient", "enc", "key_id")

    def __init__(self, key_id: int, recipient: hpke.Recipient) -> None:
        self.key_id = key_id
        self.enc = recipient.enc
        self._recipient: hpke.Recipient | None = recipient

    def seal_response(self, *, random: RandomBytes = secrets.token_bytes) -> ResponseSealer:
        """Return the sealer of the answer; ValueError the second time."""
        if self._recipient is None:
            raise ValueError("a response was sealed before")
        recipient, self._recipient = self._recipient, None
        response_nonce = random(response_nonce_size(recipient.aead))
        return ResponseSealer(response_nonce, _ResponseKey(recipient, response_nonce).seal)


def encapsulate_request(
    config: KeyConfig, *, ephemeral: bytes | None = None
) -> tuple[RequestSealer, ClientContext]:
    """Return the sealer of a request and the context that opens its answer.

    `ephemeral` fixes the client's X25519 key, for test vectors alone. KeyRejected when
    the configuration offers nothing that is implemented here, or a key that is none.
    """
    prefix, sender = setup_client(config, _REQUEST_LABEL, ephemeral)
    return RequestSealer(prefix, sender.seal), ClientContext(sender)


def decapsulate_request(keys: Iterable[GatewayKey]) -> RequestOpener:
    """Return the opener of a request to one of `keys`."""
    return RequestOpener(keys)


class _ResponseKey:
    """The key of one response and the counter of its chunks (Section 6.2)."""

    __slots__ = ("_cipher", "_counter", "_nonce", "_nonce_size")

    def __init__(self, context: hpke.Sender | hpke.Recipient, response_nonce: bytes) -> None:
        self._cipher, nonce = response_cipher(context, _RESPONSE_LABEL, response_nonce)
        self._nonce = int.from_bytes(nonce, "big")
        self._nonce_size = len(nonce)
        self._counter = 0

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        return self._cipher.encrypt(self._next_nonce(), plaintext, aad)

    def open(self, ciphertext: bytes | memoryview, aad: bytes) -> bytes:
        return hpke.open_with(self._cipher, self._next_nonce(), ciphertext, aad)

    def _next_nonce(self) -> bytes:
        # The counter cannot reach 256 to the power of Nn; if it did, to_bytes would refuse it.
        nonce = (self._nonce ^ self._counter).to_bytes(self._nonce_size, "big")
        self._counter += 1
        return nonce


def _not_empty(plaintext: bytes) -> bytes:
    # A non-final chunk without plaintext MUST be treated as a decryption error (Section 6).
    if not plaintext:
        raise KeyRejected("empty chunk")
    return plaintext

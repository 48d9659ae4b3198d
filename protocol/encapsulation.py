"""Encapsulated requests and responses (RFC 9458, Section 4)."""

import secrets
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from protocol import hkdf, hpke
from protocol.errors import KeyRejected, MalformedMessage
from protocol.hpke import Aead, Cipher, Kdf
from protocol.kem import DEFAULT_KEM, KEMS, Kem, PrivateKey, find_kem
from protocol.key_config import KeyConfig, SymmetricAlgorithm

HEADER_SIZE = 7
"""Key, KEM, KDF and AEAD identifiers before the encapsulated key."""

SUITES = (
    SymmetricAlgorithm(Kdf.HKDF_SHA256, Aead.CHACHA20_POLY1305),
    SymmetricAlgorithm(Kdf.HKDF_SHA256, Aead.AES_128_GCM),
    SymmetricAlgorithm(Kdf.HKDF_SHA256, Aead.AES_256_GCM),
)
"""All that is implemented, in the order of a gateway's preference."""

RandomBytes = Callable[[int], bytes]

_REQUEST_LABEL = b"message/bhttp request"
_RESPONSE_LABEL = b"message/bhttp response"


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A gateway's private key and the configuration that clients get to see of it."""

    key_id: int
    private_key: bytes = field(repr=False, compare=False)
    symmetric_algorithms: Sequence[tuple[int, int]] = field(default=SUITES, compare=False)
    kem: Kem = field(default=DEFAULT_KEM, repr=False)
    config: KeyConfig = field(init=False)
    secret: PrivateKey = field(init=False, repr=False, compare=False)
    acceptors: dict[bytes, hpke.Acceptor] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def __post_init__(self) -> None:
        secret = self.kem.load_private_key(self.private_key)
        config = KeyConfig(self.key_id, self.kem.code, secret.public_key, self.symmetric_algorithms)
        object.__setattr__(self, "secret", secret)
        object.__setattr__(self, "config", config)
        object.__setattr__(self, "symmetric_algorithms", config.symmetric_algorithms)

    @classmethod
    def generate(
        cls, key_id: int, kem: Kem = DEFAULT_KEM, *, random: RandomBytes = secrets.token_bytes
    ) -> "GatewayKey":
        """Return a new key."""
        return cls(key_id, random(kem.private_key_size), kem=kem)


class ClientContext:
    """The one thing that can open the answer to an encapsulated request, once."""

    __slots__ = ("_sender",)

    def __init__(self, sender: hpke.Sender) -> None:
        self._sender: hpke.Sender | None = sender

    def open_response(self, data: bytes) -> bytes:
        """Return the response in `data`, or raise ProtocolError; ValueError the second time."""
        if self._sender is None:
            raise ValueError("a response was opened before")
        sender, self._sender = self._sender, None
        nonce_size = response_nonce_size(sender.aead)
        if len(data) < nonce_size + hpke.TAG_SIZE:
            raise MalformedMessage("encapsulated response is too short")
        cipher, nonce = response_cipher(sender, _RESPONSE_LABEL, data[:nonce_size])
        return hpke.open_with(cipher, nonce, data[nonce_size:])


class GatewayContext:
    """The one thing that can seal the answer to an opened request, once."""

    __slots__ = ("_recipient", "enc", "key_id")

    def __init__(self, key_id: int, recipient: hpke.Recipient) -> None:
        self.key_id = key_id
        self.enc = recipient.enc
        self._recipient: hpke.Recipient | None = recipient

    def seal_response(self, data: bytes, *, random: RandomBytes = secrets.token_bytes) -> bytes:
        """Return `data` as an encapsulated response; ValueError the second time."""
        if self._recipient is None:
            raise ValueError("a response was sealed before")
        recipient, self._recipient = self._recipient, None
        response_nonce = random(response_nonce_size(recipient.aead))
        cipher, nonce = response_cipher(recipient, _RESPONSE_LABEL, response_nonce)
        return response_nonce + cipher.encrypt(nonce, data, b"")


def preferred_config(configs: Sequence[KeyConfig]) -> KeyConfig:
    """Return the one of `configs` to seal to: of the KEM that comes first in KEMS the first.

    One that offers no suite that is implemented here is returned only where no other is better.
    ValueError for none, or for a KEM that is not known.
    """
    usable = [config for config in configs if _suites(config)] or configs
    ranks = list(KEMS)
    return min(usable, key=lambda config: ranks.index(config.kem_id))


def encapsulate_request(
    config: KeyConfig, request: bytes, *, ephemeral: bytes | None = None
) -> tuple[bytes, ClientContext]:
    """Return an encapsulated request and the context that opens its answer.

    `ephemeral` fixes the client's X25519 key, for test vectors alone. KeyRejected when
    the configuration offers nothing that is implemented here, or a key that is none.
    """
    prefix, sender = setup_client(config, _REQUEST_LABEL, ephemeral)
    return prefix + sender.seal(request), ClientContext(sender)


def decapsulate_request(keys: Iterable[GatewayKey], data: bytes) -> tuple[bytes, GatewayContext]:
    """Return the request in `data` and the context that seals its answer.

    MalformedMessage when it is too short to be one; KeyRejected for every other failure.
    """
    recipient, sealed = accept_request(keys, data)
    return recipient.open(sealed), GatewayContext(data[0], recipient)


def accept_request(keys: Iterable[GatewayKey], data: bytes) -> tuple[hpke.Recipient, memoryview]:
    """Do all of `decapsulate_request` but opening, which takes long for a long request.

    Returns what opens, and what it is to open; the errors are the same.
    """
    if len(data) < HEADER_SIZE + hpke.TAG_SIZE:
        raise MalformedMessage("encapsulated request is too short")
    # How long the encapsulated key is follows from the header alone.
    acceptor = find_acceptor(keys, data[:HEADER_SIZE], _REQUEST_LABEL)
    prefix_size = HEADER_SIZE + acceptor.enc_size
    if len(data) < prefix_size + hpke.TAG_SIZE:
        raise MalformedMessage("encapsulated request is too short")
    recipient = acceptor.accept(data[HEADER_SIZE:prefix_size])
    # A view, for a copy of a long request takes as long as half of its decryption.
    return recipient, memoryview(data)[prefix_size:]


def setup_client(
    config: KeyConfig, label: bytes, ephemeral: bytes | None
) -> tuple[bytes, hpke.Sender]:
    """Return the header with the encapsulated key, and the sending context bound to both."""
    kem, kdf, aead = _choose(config)
    header = struct.pack("!BHHH", config.key_id, config.kem_id, kdf, aead)
    info = label + b"\0" + header
    sender = hpke.setup_sender(kem, config.public_key, kdf, aead, info, ephemeral=ephemeral)
    return header + sender.enc, sender


def find_acceptor(keys: Iterable[GatewayKey], header: bytes, label: bytes) -> hpke.Acceptor:
    """Return what accepts requests that begin with `header` (HEADER_SIZE bytes), or KeyRejected."""
    key = next((key for key in keys if key.key_id == header[0]), None)
    if key is None:
        raise KeyRejected("key")
    info = label + b"\0" + header
    acceptor = key.acceptors.get(info)
    if acceptor is None:
        # A few for each key: as many as it has suites for both kinds of request.
        acceptor = key.acceptors[info] = _new_acceptor(key, header, info)
    return acceptor


def response_nonce_size(aead: Aead) -> int:
    """max(Nn, Nk) bytes, the size of a response nonce and of the secret exported for it."""
    return max(aead.nonce_size, aead.key_size)


def response_cipher(
    context: hpke.Sender | hpke.Recipient, label: bytes, response_nonce: bytes
) -> tuple[Cipher, bytes]:
    """Return the cipher of a response and its nonce (RFC 9458, Section 4.4)."""
    aead = context.aead
    secret = context.export(label, len(response_nonce))
    mac = hkdf.keyed(hkdf.extract(context.enc + response_nonce, secret))
    key = hkdf.expand_keyed(mac, b"key", aead.key_size)
    return hpke.new_cipher(aead, key), hkdf.expand_keyed(mac, b"nonce", hpke.NONCE_SIZE)


def _new_acceptor(key: GatewayKey, header: bytes, info: bytes) -> hpke.Acceptor:
    _, kem_id, kdf_id, aead_id = struct.unpack("!BHHH", header)
    # RFC 9458, Section 4.3: an error if the identifier does not match a key of this KEM, or the
    # algorithms are a combination that the gateway is unwilling to use with it.
    if kem_id != key.config.kem_id:
        raise KeyRejected("KEM")
    if (kdf_id, aead_id) not in key.symmetric_algorithms or (kdf_id, aead_id) not in SUITES:
        raise KeyRejected("suite")
    return hpke.Acceptor(key.kem, key.secret, Kdf(kdf_id), Aead(aead_id), info)


def _choose(config: KeyConfig) -> tuple[Kem, Kdf, Aead]:
    kem = find_kem(config.kem_id)
    suites = _suites(config)
    if kem is None or not suites:
        raise KeyRejected("the configuration offers no suite that is implemented")
    kdf_id, aead_id = suites[0]
    return kem, Kdf(kdf_id), Aead(aead_id)


def _suites(config: KeyConfig) -> list[tuple[int, int]]:
    return [pair for pair in config.symmetric_algorithms if pair in SUITES]

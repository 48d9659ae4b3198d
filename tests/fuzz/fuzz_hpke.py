"""HPKE: ours and pyhpke open the same messages, and give the same octets."""

from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError

from protocol import hpke
from protocol.errors import KeyRejected
from protocol.hpke import Aead, Kdf
from protocol.kem import X25519_HKDF_SHA256
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import Attempt, Octets, Refused, attempt

PRIVATE_KEY = X25519_HKDF_SHA256.load_private_key(bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))
THEIRS = {
    Aead.AES_128_GCM: AEADId.AES128_GCM,
    Aead.AES_256_GCM: AEADId.AES256_GCM,
    Aead.CHACHA20_POLY1305: AEADId.CHACHA20_POLY1305,
}

FAULTS = (
    slips("protocol.hpke.open_with", KeyRejected),
    slips("protocol.kem._exchange", KeyRejected),
    returns("protocol.hpke._Context._nonce", lambda nonce: nonce[::-1]),
    replaced("protocol.hpke.open_with", lambda cipher, nonce, sealed, aad=b"": bytes(sealed)),
)


def seeds() -> list[bytes]:
    """Return messages to seal with each AEAD, and keys of small order."""
    sealed = [bytes([kind, aead, 3]) + b"aadinfo and text" for kind in (0, 1) for aead in range(3)]
    return [*sealed, b"\2\0" + bytes(32) + b"sealed", b"\2\0\1" + bytes(31), b"\2\0" + EPHEMERAL]


def run(data: bytes) -> None:
    """Seal with ours or theirs and open with both, or open what nobody sealed."""
    octets = Octets(data)
    kind, aead = octets.number() % 3, octets.one_of(tuple(Aead))
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, THEIRS[aead])
    if kind == 2:
        enc, aad, info, sealed = octets.take(32), b"", b"", [octets.rest()]
        expected = None
    else:
        aad, info = octets.piece(), octets.take(4)
        expected = [octets.take(5), octets.rest()]
        enc, sealed = (_by_ours if kind == 0 else _by_theirs)(suite, aead, info, aad, expected)
    ours = attempt(_opened_by_ours, aead, enc, info, aad, sealed)
    theirs = Attempt(PyHPKEError, ValueError)(_opened_by_theirs, suite, enc, info, aad, sealed)
    assert isinstance(ours, Refused) == isinstance(theirs, Refused)
    assert isinstance(ours, Refused) or ours == theirs
    assert expected is None or ours == expected


Sealed = tuple[bytes, list[bytes]]


def _by_ours(suite: CipherSuite, aead: Aead, info: bytes, aad: bytes, plain: list[bytes]) -> Sealed:
    key = PRIVATE_KEY.public_key
    sender = hpke.setup_sender(
        X25519_HKDF_SHA256, key, Kdf.HKDF_SHA256, aead, info, ephemeral=EPHEMERAL
    )
    return sender.enc, [sender.seal(text, aad) for text in plain]


def _by_theirs(
    suite: CipherSuite, aead: Aead, info: bytes, aad: bytes, plain: list[bytes]
) -> Sealed:
    enc, sender = suite.create_sender_context(
        suite.kem.deserialize_public_key(PRIVATE_KEY.public_key), info
    )
    return enc, [sender.seal(text, aad) for text in plain]


def _opened_by_ours(
    aead: Aead, enc: bytes, info: bytes, aad: bytes, sealed: list[bytes]
) -> list[bytes]:
    recipient = hpke.setup_recipient(
        X25519_HKDF_SHA256, enc, PRIVATE_KEY, Kdf.HKDF_SHA256, aead, info
    )
    return [recipient.open(each, aad) for each in sealed]


def _opened_by_theirs(
    suite: CipherSuite, enc: bytes, info: bytes, aad: bytes, sealed: list[bytes]
) -> list[bytes]:
    key = suite.kem.deserialize_private_key(bytes(range(32)))
    recipient = suite.create_recipient_context(enc, key, info)
    return [recipient.open(each, aad) for each in sealed]

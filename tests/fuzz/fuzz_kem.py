"""Key encapsulation, each mechanism: any octets are a key, or refused; both ends have one secret.

The first octet chooses the mechanism, the second what the rest is: what was sent, a public key, or
a private one and the place of an octet that is altered on the way.
"""

from protocol import kem
from protocol.errors import KeyRejected
from protocol.kem import KEMS, Kem
from tests.fuzz.faults import returns, slips
from tests.fuzz.reading import Attempt, Octets, Refused

ALL = tuple(KEMS.values())
EPHEMERAL = bytes(range(1, 33))
attempt = Attempt(KeyRejected)

FAULTS = (
    slips("protocol.kem._exchange", KeyRejected),
    returns("protocol.kem._shared_secret", lambda secret: secret[1:]),
    returns("protocol.kem._combined", lambda secret: bytes(32)),
)


def seeds() -> list[bytes]:
    """Return for each mechanism what is sent, keys, and keys that are none."""
    return [bytes([number]) + seed for number, each in enumerate(ALL) for seed in _seeds(each)]


def _seeds(mechanism: Kem) -> list[bytes]:
    private = bytes(range(mechanism.private_key_size))
    public = mechanism.load_private_key(private).public_key
    _, sent = mechanism.encapsulate(public, EPHEMERAL)
    return [
        *(b"\0" + each for each in (sent, sent[:-1], bytes(len(sent)), sent[:-32] + bytes(32))),
        *(b"\1" + each for each in (public, public[1:], b"\xff" * len(public), bytes(len(public)))),
        *(b"\2" + private + place for place in (b"\0\0", b"\4\x50", b"")),
    ]


def run(data: bytes) -> None:
    """Do with an input what a gateway and a client do with a peer's."""
    octets = Octets(data)
    mechanism, kind = octets.one_of(ALL), octets.number() % 3
    if kind == 0:
        key = mechanism.load_private_key(bytes(mechanism.private_key_size))
        secret = attempt(key.decapsulate, octets.rest())
        assert isinstance(secret, Refused) or len(secret) == mechanism.secret_size
    elif kind == 1:
        made = attempt(mechanism.encapsulate, octets.rest(), EPHEMERAL)
        sizes = (mechanism.secret_size, mechanism.enc_size)
        assert isinstance(made, Refused) or tuple(map(len, made)) == sizes
    else:
        private = octets.take(mechanism.private_key_size).ljust(mechanism.private_key_size, b"\0")
        _there_and_back(mechanism, private, octets.number(2))


def _there_and_back(mechanism: Kem, private: bytes, place: int) -> None:
    key = mechanism.load_private_key(private)
    assert len(key.public_key) == mechanism.public_key_size
    secret, sent = mechanism.encapsulate(key.public_key, None)
    assert key.decapsulate(sent) == secret
    altered = bytearray(sent)
    altered[place % len(sent)] ^= 1
    assert attempt(key.decapsulate, bytes(altered)) != secret
    assert kem.find_kem(mechanism.code) is mechanism

"""Encapsulated requests and responses: what was sealed opens, and nothing else does."""

from protocol import encapsulation
from protocol.encapsulation import GatewayKey
from protocol.errors import KeyRejected
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Octets, Refused, attempt

KEY = GatewayKey(1, bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))
REQUEST = encapsulation.encapsulate_request(KEY.config, b"asked", ephemeral=EPHEMERAL)[0]
RESPONSE = encapsulation.decapsulate_request([KEY], REQUEST)[1].seal_response(b"answered")

FAULTS = (
    slips("protocol.hpke.open_with", KeyRejected),
    slips("protocol.encapsulation.find_acceptor", KeyRejected),
    returns("protocol.encapsulation.response_cipher", lambda made: (made[0], bytes(12))),
    replaced("protocol.hpke.open_with", lambda cipher, nonce, sealed, aad=b"": bytes(sealed)),
)


def seeds() -> list[bytes]:
    """Return a request and a response behind the octet that says which it is, and plaintexts."""
    return [b"\0" + REQUEST, b"\1" + RESPONSE, b"\2" + b"asked", b"\2", b"\0\1\0\x20\0\1\0\3"]


def run(data: bytes) -> None:
    """Open `data` as a request or as a response; or seal it, open it, and alter one octet."""
    octets = Octets(data)
    kind, rest = octets.number() % 3, octets.rest()
    if kind == 0:
        opened = attempt(encapsulation.decapsulate_request, [KEY], rest)
        said = opened if isinstance(opened, Refused) else opened[0]
        assert said == (b"asked" if rest == REQUEST else REFUSED)
    elif kind == 1:
        _, client = encapsulation.encapsulate_request(KEY.config, b"asked", ephemeral=EPHEMERAL)
        answer = attempt(client.open_response, rest)
        assert answer == (b"answered" if rest == RESPONSE else REFUSED)
    else:
        _there_and_back(rest)


def _there_and_back(plain: bytes) -> None:
    sealed, client = encapsulation.encapsulate_request(KEY.config, plain, ephemeral=EPHEMERAL)
    opened, gateway = encapsulation.decapsulate_request([KEY], sealed)
    assert opened == plain
    answer = gateway.seal_response(plain[::-1])
    place = len(plain) % len(sealed)
    altered = sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]
    assert attempt(encapsulation.decapsulate_request, [KEY], altered) is REFUSED
    assert client.open_response(answer) == plain[::-1]

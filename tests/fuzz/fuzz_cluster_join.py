"""Messages of one join: whole and untouched they are taken, anything else is refused."""

import random
import time

import cbor2

from protocol.cluster_join import (
    KEM,
    NONCE_BYTES,
    Entering,
    Joining,
    Leadership,
    Leading,
    Offer,
    Wait,
    lead,
    read_hello,
    wait,
)
from protocol.errors import MalformedMessage
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.support.enclaves import enclave

MAX_BYTES = 8192
MEMBER, NOW = b"m" * 16, time.time()
LEADERSHIP = Leadership(b"L" * 16, b"F" * 16)
ENCLAVE = enclave()
FAULTS = (
    slips("protocol.cluster_join._decode", MalformedMessage),
    returns("protocol.cluster_join._decode", lambda members: {**members, "v": 1, "x": 1}),
    replaced("protocol.cluster_join._decode", cbor2.loads),
    replaced("protocol.cluster_join.Equality.verify", lambda *_: bytes(64)),
)


class Join:
    """One join, every step of which can be taken again and again."""

    def __init__(self) -> None:
        self.nonce = random.Random(15).randbytes(NONCE_BYTES)
        joining = self.joining()
        self.hello = joining.hello
        self.lead, leading = lead(
            self.hello, LEADERSHIP, ENCLAVE.attest, ENCLAVE.equality, NOW, random=bytes
        )
        offer = joining.read(self.lead, NOW)
        assert isinstance(offer, Offer)
        self.join, self._entering = offer.join(MEMBER, random=bytes)
        self.welcome, _ = leading.admit(self.join, NOW)

    def joining(self) -> Joining:
        return Joining(ENCLAVE.attest, ENCLAVE.equality, nonce=self.nonce)

    def leading(self) -> Leading:
        key = KEM.load_private_key(bytes(KEM.private_key_size))
        return Leading(self.lead, key, ENCLAVE.equality, NOW)

    def entering(self) -> Entering:
        key = KEM.load_private_key(bytes(KEM.private_key_size))
        return Entering(key, self._entering._to_leader, self._entering._info)


JOIN = Join()


def seeds() -> list[bytes]:
    """Return the messages of the join, one that waits, and some that are nearly right."""
    messages = [JOIN.hello, JOIN.lead, JOIN.join, JOIN.welcome, wait(bytes(NONCE_BYTES))]
    swapped = [
        cbor2.dumps({**cbor2.loads(one), "key": cbor2.loads(other)["key"]}, canonical=True)
        for one, other in ((JOIN.lead, JOIN.join), (JOIN.join, JOIN.lead))
    ]
    loose = [cbor2.dumps({"v": 1, "hello": JOIN.nonce}, canonical=False), b"\xa2avah", b""]
    return [*messages, *swapped, *loose]


def run(data: bytes) -> None:
    """Give `data` to whoever reads, in each state of a join."""
    nonce = attempt(read_hello, data)
    if not isinstance(nonce, Refused):
        assert Joining(ENCLAVE.attest, ENCLAVE.equality, nonce=nonce).hello == data
    said = attempt(JOIN.joining().read, data, NOW)
    if isinstance(said, Offer):
        assert data == JOIN.lead
    elif isinstance(said, Wait):
        assert wait(said.nonce) == data
    admitted = attempt(JOIN.leading().admit, data, NOW)
    assert (admitted is not REFUSED) is (data == JOIN.join)
    if attempt(JOIN.entering().enter, data) is not REFUSED:
        assert cbor2.dumps(cbor2.loads(data), canonical=True) == data
        assert len(cbor2.loads(data)["welcome"]) == KEM.enc_size

"""How an enclave joins a cluster: attested replication of keys, among enclaves that measure alike.

    follower → leader    hello     a fresh nonce
    leader → follower    lead      a document over that nonce, and over a fresh key of the leader's
    follower → leader    join      a document whose nonce is SHA-256(lead), over a fresh key of the
                                   follower's and over a secret sent to the leader's key
    leader → follower    welcome   a secret sent to the follower's key; the channel is open

or, from an enclave that does not lead,

    peer → follower      wait      the peer's own nonce

Each side demands of the other's document what a client demands, and more: the same root, PCRs
equal to its own and not zero, the nonce, an age, a label for each kind of document, so that none
can stand for another nor for evidence. The secrets' `info` holds the hashes of lead and join,
whole: what is altered, replayed or spliced gives other keys.

**Why two secrets.** Sealing to the follower's key alone keeps the state secret and does not say who
sealed it: a host that passes on a leader's document could answer the join itself, with keys of its
own making, which the follower would then attest. The secret that is sent to the leader's attested
key is what only the leader's enclave can answer with; see `protocol.cluster_channel`.

Every object serves one join, and its next step returns the only thing that can go on.
"""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import cbor2
from cryptography import x509

from protocol import cbor
from protocol.attestation import PCR_BYTES, Attestation, verify_attestation
from protocol.cluster_channel import Channel, follower_channel, leader_channel
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    MalformedMessage,
)
from protocol.hpke import Aead, Kdf, Sender, setup_recipient, setup_sender
from protocol.kem import X_WING, Kem, PrivateKey
from protocol.slots import OWNER_BYTES

VERSION = 1
LABEL = b"oblivious-inference cluster 1\0"
"""Begins `user_data` of these documents; evidence for clients begins as a map of CBOR does."""

NONCE_BYTES = 32
FAMILY_BYTES = 16
MAX_AGE_SECONDS = 60.0
"""Of a document: the nonce shows already that it is fresh, this that the clocks agree."""

LEAD_SECONDS = 10.0
"""For which a lead can be answered, once."""

KEM: Kem = X_WING
"""Of both secrets. Enclaves whose PCRs are equal run the same code: nothing is negotiated."""

_SUITE = Kdf.HKDF_SHA256, Aead.AES_256_GCM

Attest = Callable[[bytes, bytes], bytes]
"""Takes `user_data` and a nonce, returns a document of this enclave's; raises what it likes."""


@dataclass(frozen=True, slots=True)
class Equality:
    """What another enclave has to be: under `root`, with these registers.

    ValueError for registers that are missing, zero (as in debug mode), or of another size.
    """

    root: x509.Certificate
    pcrs: Mapping[int, bytes]

    def __post_init__(self) -> None:
        if not self.pcrs:
            raise ValueError("no registers to compare")
        for index, value in self.pcrs.items():
            if len(value) != PCR_BYTES or not any(value):
                raise ValueError(f"PCR{index} is zero or no register: nothing is equal to that")

    def verify(self, document: bytes, label: bytes, nonce: bytes, now: float) -> bytes:
        """Return what stands behind the label in `user_data`, or raise AttestationError."""
        attestation = verify_attestation(
            document,
            now=now,
            root=self.root,
            pcrs=self.pcrs,
            nonce=nonce,
            max_age=MAX_AGE_SECONDS,
        )
        return _behind(label, attestation)


def _behind(label: bytes, attestation: Attestation) -> bytes:
    data = attestation.user_data or b""
    if not data.startswith(label):
        raise AttestationError(
            AttestationStep.BINDING,
            AttestationReason.UNBOUND_KEYS,
            "the document was made for something else",
        )
    return data.removeprefix(label)


_LEAD = LABEL + b"lead\0"
_JOIN = LABEL + b"join\0"


@dataclass(frozen=True, slots=True)
class Leadership:
    """Who leads which cluster: a member's identifier, and 16 octets that name the signing keys."""

    member: bytes
    family: bytes

    def __post_init__(self) -> None:
        if len(self.member) != OWNER_BYTES or len(self.family) != FAMILY_BYTES:
            raise ValueError("an identifier has the wrong size")


@dataclass(frozen=True, slots=True)
class Wait:
    """What a peer says that does not lead: ask somebody else, or later."""

    nonce: bytes


class Joining:
    """A follower that has said hello; `key` is fresh, and of this join alone."""

    __slots__ = ("_attest", "_equality", "_nonce", "_spent")

    def __init__(
        self,
        attest: Attest,
        equality: Equality,
        *,
        nonce: bytes | None = None,
    ) -> None:
        self._attest = attest
        self._equality = equality
        self._nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
        self._spent = False

    @property
    def hello(self) -> bytes:
        """The first frame's content."""
        return _encode({"v": VERSION, "hello": self._nonce})

    def read(self, frame: bytes, now: float) -> "Wait | Offer":
        """Return what the peer answered; ProtocolError for what is neither, or not proven.

        ValueError the second time.
        """
        if self._spent:
            raise ValueError("a lead was read before")
        self._spent = True
        members = _decode(frame)
        if members.keys() == {"v", "wait"}:
            return Wait(_sized(members["wait"], NONCE_BYTES))
        if members.keys() != {"v", "lead", "key"}:
            raise MalformedMessage("neither a lead nor a wait")
        document, key = _bytes(members["lead"]), _sized(members["key"], KEM.public_key_size)
        said = self._equality.verify(document, _LEAD, self._nonce, now)
        return Offer(frame, key, _leadership(said, key), self._attest)


class Offer:
    """A lead that is proven: whoever leads, and the one way to join."""

    __slots__ = ("_attest", "_frame", "_key", "_spent", "leadership")

    def __init__(self, frame: bytes, key: bytes, leadership: Leadership, attest: Attest) -> None:
        self._frame = frame
        self._key = key
        self._attest = attest
        self._spent = False
        self.leadership = leadership

    def join(
        self, member: bytes, *, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> "tuple[bytes, Entering]":
        """Return the frame that joins as `member`, and what reads the welcome.

        KeyRejected for a key to which nothing can be sealed; ValueError the second time.
        """
        if self._spent:
            raise ValueError("an offer was taken before")
        self._spent = True
        private_key = KEM.load_private_key(random(KEM.private_key_size))
        lead_hash = hashlib.sha256(self._frame).digest()
        # The leader's secret cannot depend on the join, which holds it; its `info` names the lead.
        to_leader = setup_sender(KEM, self._key, *_SUITE, LABEL + b"to leader\0" + lead_hash)
        bound = hashlib.sha256(private_key.public_key + to_leader.enc).digest()
        document = self._attest(_JOIN + member + bound, lead_hash)
        frame = _encode(
            {
                "v": VERSION,
                "join": document,
                "key": private_key.public_key,
                "enc": to_leader.enc,
            }
        )
        return frame, Entering(private_key, to_leader, _to_follower(self._frame, frame))


class Entering:
    """A follower that has sent its join."""

    __slots__ = ("_info", "_key", "_to_leader")

    def __init__(self, key: PrivateKey, to_leader: Sender, info: bytes) -> None:
        self._key: PrivateKey | None = key
        self._to_leader = to_leader
        self._info = info

    def enter(self, frame: bytes) -> Channel:
        """Return the channel that the leader's welcome opens, or raise ProtocolError.

        That the leader is at its other end shows with the first message that opens. ValueError the
        second time.
        """
        if self._key is None:
            raise ValueError("a welcome was read before")
        key, self._key = self._key, None
        members = _decode(frame)
        if members.keys() != {"v", "welcome"}:
            raise MalformedMessage("no welcome")
        enc = _sized(members["welcome"], KEM.enc_size)
        return follower_channel(
            setup_recipient(KEM, enc, key, *_SUITE, self._info), self._to_leader
        )


@dataclass(frozen=True, slots=True)
class Admitted:
    """A follower that has proven itself: its identifier, and the leader's end of the channel."""

    member: bytes
    channel: Channel = field(repr=False)


class Leading:
    """A leader that waits for one join to the one lead that it made at `made` (Unix seconds)."""

    __slots__ = ("_equality", "_frame", "_key", "_made")

    def __init__(self, frame: bytes, key: PrivateKey, equality: Equality, made: float) -> None:
        self._frame = frame
        self._key: PrivateKey | None = key
        self._equality = equality
        self._made = made

    def admit(self, frame: bytes, now: float) -> tuple[bytes, Admitted]:
        """Return welcome and follower, or raise ProtocolError; ValueError the second time."""
        if self._key is None:
            raise ValueError("a lead is good for one join")
        key, self._key = self._key, None
        if not 0 <= now - self._made <= LEAD_SECONDS:
            raise MalformedMessage("the lead is too old")
        members = _decode(frame)
        if members.keys() != {"v", "join", "key", "enc"}:
            raise MalformedMessage("no join")
        document = _bytes(members["join"])
        followers_key = _sized(members["key"], KEM.public_key_size)
        enc = _sized(members["enc"], KEM.enc_size)
        lead_hash = hashlib.sha256(self._frame).digest()
        said = self._equality.verify(document, _JOIN, lead_hash, now)
        member, bound = said[:OWNER_BYTES], said[OWNER_BYTES:]
        if bound != hashlib.sha256(followers_key + enc).digest():
            raise _unbound("the key beside the document is not the one that it binds")
        info = LABEL + b"to leader\0" + lead_hash
        from_follower = setup_recipient(KEM, enc, key, *_SUITE, info)
        to_follower = setup_sender(KEM, followers_key, *_SUITE, _to_follower(self._frame, frame))
        welcome = _encode({"v": VERSION, "welcome": to_follower.enc})
        return welcome, Admitted(member, leader_channel(to_follower, from_follower))


def lead(
    hello: bytes,
    leadership: Leadership,
    attest: Attest,
    equality: Equality,
    now: float,
    *,
    random: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[bytes, Leading]:
    """Return the answer to `hello` and what reads the join; MalformedMessage for no hello."""
    nonce = read_hello(hello)
    key = KEM.load_private_key(random(KEM.private_key_size))
    bound = hashlib.sha256(key.public_key).digest()
    document = attest(_LEAD + leadership.member + leadership.family + bound, nonce)
    frame = _encode({"v": VERSION, "lead": document, "key": key.public_key})
    return frame, Leading(frame, key, equality, now)


def read_hello(frame: bytes) -> bytes:
    """Return the nonce of a hello, or raise MalformedMessage."""
    members = _decode(frame)
    if members.keys() != {"v", "hello"}:
        raise MalformedMessage("no hello")
    return _sized(members["hello"], NONCE_BYTES)


def wait(nonce: bytes) -> bytes:
    """Return the frame of a peer that does not lead."""
    return _encode({"v": VERSION, "wait": nonce})


def _to_follower(lead_frame: bytes, join_frame: bytes) -> bytes:
    hashes = hashlib.sha256(lead_frame).digest() + hashlib.sha256(join_frame).digest()
    return LABEL + b"to follower\0" + hashes


def _leadership(said: bytes, key: bytes) -> Leadership:
    ends = OWNER_BYTES, OWNER_BYTES + FAMILY_BYTES
    if said[ends[1] :] != hashlib.sha256(key).digest():
        raise _unbound("the leader's key is not the one that its document binds")
    return Leadership(said[: ends[0]], said[ends[0] : ends[1]])


def _unbound(detail: str) -> AttestationError:
    return AttestationError(AttestationStep.BINDING, AttestationReason.UNBOUND_KEYS, detail)


def _encode(members: Mapping[str, object]) -> bytes:
    return cbor2.dumps(dict(members), canonical=True)


def _decode(frame: bytes) -> dict[int | str, cbor.Value]:
    members = cbor.decode(frame)
    # Written again it is the same, so that there is one way to say each thing.
    if not isinstance(members, dict) or cbor2.dumps(members, canonical=True) != frame:
        raise MalformedMessage("not a canonical map")
    if members.get("v") != VERSION or isinstance(members.get("v"), bool):
        raise MalformedMessage("another version")
    return members


def _bytes(value: cbor.Value) -> bytes:
    if not isinstance(value, bytes) or not value:
        raise MalformedMessage("a member is no byte string")
    return value


def _sized(value: cbor.Value, size: int) -> bytes:
    if not isinstance(value, bytes) or len(value) != size:
        raise MalformedMessage("a member has the wrong size")
    return value

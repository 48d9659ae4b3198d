"""What enclaves of a cluster tell each other on their channel: canonical CBOR, a map of one member.

    state     leader → follower   all keys, their tables of slots, who is alive, what is announced
    beat      leader → follower   the serial of the newest state: the leader is alive
    ack       follower → leader   the serial of the state with which all its workers serve
    propose   follower → leader   secrets that an administrator handed to the follower

A leader sends whole states, so that a follower that misses none and one that joins late hold the
same. Times are Unix milliseconds: whole numbers, which everybody reads alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import cbor2

from protocol import cbor
from protocol.errors import MalformedMessage
from protocol.kem import KEMS, find_kem
from protocol.slots import MAX_OWNERS, OWNER_BYTES, SlotTable

MAX_GENERATIONS = 8
"""Alive at a time. Each change of members makes one, and the oldest is dropped for a ninth."""

MAX_SECRETS_BYTES = 32 * 1024
"""What `protocol.provisioning` lets an administrator hand over."""

KEY_IDS = 256
ED25519_BYTES = 32
MAX_RSA_BYTES = 4096
_KEY_BYTES = 32  # of a private key or seed of every mechanism in KEMS
_MAX_NUMBER = 1 << 53


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A private key: its mechanism's code point, and 32 octets."""

    kem: int
    private_key: bytes = field(repr=False)

    def __post_init__(self) -> None:
        kem = find_kem(self.kem)
        if kem is None or len(self.private_key) != kem.private_key_size:
            raise ValueError("no private key of a known mechanism")


@dataclass(frozen=True, slots=True)
class SharedGeneration:
    """Keys whose identifiers count up from `key_id`, their times, and the owners of their slots.

    `early`: made because of who came or went. Those before it retire when it is announced.
    """

    key_id: int
    keys: tuple[SharedKey, ...]
    retires: int
    ends: int
    table: SlotTable
    early: bool

    def __post_init__(self) -> None:
        if not 0 <= self.key_id < KEY_IDS or not 0 < len(self.keys) <= len(KEMS):
            raise ValueError("an identifier or a number of keys out of range")
        if not 0 <= self.retires <= self.ends < _MAX_NUMBER:
            raise ValueError("keys that end before they retire")


@dataclass(frozen=True, slots=True)
class State:
    """Everything that a member needs to serve like the others; the newest generation is first.

    `announced` says whether the newest generation is in the list that clients get. `rsa` is DER
    (PKCS #8), `ed25519` raw; `secrets` is opaque here, and empty where nobody handed over any.
    """

    serial: int
    turns: int
    leader: bytes
    members: frozenset[bytes]
    announced: bool
    generations: tuple[SharedGeneration, ...]
    rsa: bytes = field(repr=False)
    ed25519: bytes = field(repr=False)
    secrets: bytes = field(repr=False, default=b"")

    def __post_init__(self) -> None:
        if not 0 < self.serial < _MAX_NUMBER or not 0 <= self.turns < _MAX_NUMBER:
            raise ValueError("a number out of range")
        if len(self.members) > MAX_OWNERS or self.leader not in self.members:
            raise ValueError("too many members, or a leader that is none of them")
        if any(len(member) != OWNER_BYTES for member in self.members):
            raise ValueError("an identifier has the wrong size")
        if not 0 < len(self.generations) <= MAX_GENERATIONS:
            raise ValueError("too many generations, or none")
        if not self.announced and len(self.generations) == 1:
            raise ValueError("nothing is announced")
        if len(self.ed25519) != ED25519_BYTES or not 0 < len(self.rsa) <= MAX_RSA_BYTES:
            raise ValueError("a signing key has the wrong size")
        if len(self.secrets) > MAX_SECRETS_BYTES:
            raise ValueError("the secrets are too long")
        _require_apart(self.generations)


def _require_apart(generations: tuple[SharedGeneration, ...]) -> None:
    """Raise ValueError if two keys have one identifier, or one secret."""
    named = [(each.key_id + at) % KEY_IDS for each in generations for at in range(len(each.keys))]
    secret = [key.private_key for each in generations for key in each.keys]
    if len(set(named)) != len(named) or len(set(secret)) != len(secret):
        raise ValueError("two keys cannot be told apart")


@dataclass(frozen=True, slots=True)
class Beat:
    """The leader is alive, and `serial` is its newest state."""

    serial: int


@dataclass(frozen=True, slots=True)
class Ack:
    """All workers of the follower serve with the state `serial`."""

    serial: int


@dataclass(frozen=True, slots=True)
class Propose:
    """Secrets for the leader to accept, if it has none yet."""

    secrets: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 0 < len(self.secrets) <= MAX_SECRETS_BYTES:
            raise ValueError("no secrets, or too many")


Message = State | Beat | Ack | Propose


def encode_message(message: Message) -> bytes:
    """Return `message` as octets, secret for all kinds but Beat and Ack."""
    match message:
        case State():
            return _dump({"state": _state_members(message)})
        case Beat(serial):
            return _dump({"beat": serial})
        case Ack(serial):
            return _dump({"ack": serial})
        case Propose(secrets):
            return _dump({"propose": secrets})


def decode_message(data: bytes) -> Message:
    """Return what `encode_message` was given; MalformedMessage for anything else."""
    members = cbor.decode(data)
    if not isinstance(members, dict) or len(members) != 1 or _dump(members) != data:
        raise MalformedMessage("not a canonical map of one member")
    try:
        match members:
            case {"state": dict(inner)}:
                return _state(inner)
            case {"beat": serial}:
                return Beat(_number(serial))
            case {"ack": serial}:
                return Ack(_number(serial))
            case {"propose": bytes(secrets)}:
                return Propose(secrets)
    except ValueError as error:
        raise MalformedMessage(str(error)) from None
    raise MalformedMessage("an unknown kind of message")


def _state_members(state: State) -> dict[str, object]:
    return {
        "serial": state.serial,
        "turns": state.turns,
        "leader": state.leader,
        "members": b"".join(sorted(state.members)),
        "announced": state.announced,
        "generations": [_generation_members(each) for each in state.generations],
        "rsa": state.rsa,
        "ed25519": state.ed25519,
        "secrets": state.secrets,
    }


def _generation_members(generation: SharedGeneration) -> list[object]:
    keys = b"".join(key.kem.to_bytes(2, "big") + key.private_key for key in generation.keys)
    times = [generation.retires, generation.ends]
    return [generation.key_id, keys, *times, generation.table.encode(), generation.early]


def _state(members: Mapping[int | str, cbor.Value]) -> State:
    match members:
        case {
            "serial": serial,
            "turns": turns,
            "leader": bytes(leader),
            "members": bytes(identifiers),
            "announced": bool(announced),
            "generations": list(generations),
            "rsa": bytes(rsa),
            "ed25519": bytes(ed25519),
            "secrets": bytes(secrets),
        } if len(members) == 9:
            return State(
                _number(serial),
                _number(turns),
                leader,
                _identifiers(identifiers),
                announced,
                tuple(_generation(each) for each in generations),
                rsa,
                ed25519,
                secrets,
            )
    raise MalformedMessage("a state lacks a member, or has one that is unknown")


def _identifiers(data: bytes) -> frozenset[bytes]:
    parts = [data[at : at + OWNER_BYTES] for at in range(0, len(data), OWNER_BYTES)]
    if parts != sorted(set(parts)):
        raise MalformedMessage("the members are not in order, or one is there twice")
    return frozenset(parts)


def _generation(value: cbor.Value) -> SharedGeneration:
    match value:
        case [key_id, bytes(keys), retires, ends, bytes(table), bool(early)]:
            times = _number(retires), _number(ends)
            owners = SlotTable.decode(table)
            return SharedGeneration(_number(key_id), _keys(keys), *times, owners, early)
    raise MalformedMessage("a generation lacks a member, or has one too many")


def _keys(data: bytes) -> tuple[SharedKey, ...]:
    size = 2 + _KEY_BYTES
    parts = [data[at : at + size] for at in range(0, len(data), size)]
    return tuple(SharedKey(int.from_bytes(part[:2], "big"), part[2:]) for part in parts)


def _number(value: cbor.Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MAX_NUMBER:
        raise MalformedMessage("a number is none, or out of range")
    return value


def _dump(members: Mapping[str, object] | Mapping[int | str, cbor.Value]) -> bytes:
    return cbor2.dumps(dict(members), canonical=True)

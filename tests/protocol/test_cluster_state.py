"""Messages on the channel: what is written is read, and nothing else."""

import random
from collections.abc import Callable
from dataclasses import replace

import cbor2
import pytest

from protocol.cluster_state import (
    MAX_GENERATIONS,
    MAX_SECRETS_BYTES,
    Ack,
    Beat,
    Message,
    Propose,
    SharedKey,
    State,
    decode_message,
    encode_message,
)
from protocol.errors import MalformedMessage
from protocol.kem import X_WING
from tests.support.enclaves import generation, state

LEADER, OTHER = b"L" * 16, b"o" * 16
STATE = state(generation(250, LEADER, OTHER), generation(3, LEADER), leader=LEADER, secrets=b"s")
MESSAGES: list[Message] = [STATE, Beat(7), Ack(8), Propose(b"secrets")]
MUTATIONS = 10_000


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_each_kind_is_read_as_it_was_written(message: Message) -> None:
    assert decode_message(encode_message(message)) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_truncation_is_refused(message: Message) -> None:
    data = encode_message(message)
    for size in range(len(data)):
        with pytest.raises(MalformedMessage):
            decode_message(data[:size])
    with pytest.raises(MalformedMessage):
        decode_message(data + b"\0")


def test_ten_thousand_mutations_are_read_as_themselves_or_refused() -> None:
    chance = random.Random(15)
    originals = [encode_message(message) for message in MESSAGES]
    refused = 0
    for _ in range(MUTATIONS):
        data = bytearray(chance.choice(originals))
        for _ in range(chance.randint(1, 3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert encode_message(decode_message(bytes(data))) == data
        except MalformedMessage:
            refused += 1
    # The rest changed a key, a time or an identifier, which no reader can tell; the channel can.
    assert 0 < refused < MUTATIONS


def changed(**members: object) -> bytes:
    inner = cbor2.loads(encode_message(STATE))["state"]
    inner.update(members)
    return cbor2.dumps({"state": inner}, canonical=True)


FIRST = cbor2.loads(encode_message(STATE))["state"]["generations"][0]


REFUSED = [
    changed(serial=0),
    changed(serial=True),
    changed(serial=-1),
    changed(turns=1 << 60),
    changed(leader=b"x" * 16),
    changed(members=b""),
    changed(members=OTHER + LEADER),
    changed(members=LEADER + LEADER),
    changed(members=LEADER + b"short"),
    changed(announced=1),
    changed(generations=[]),
    changed(generations=[FIRST] * 2),
    changed(generations=[FIRST[:-1]]),
    changed(generations=[[256, *FIRST[1:]]]),
    changed(generations=[[*FIRST[:1], FIRST[1][:-1], *FIRST[2:]]]),
    changed(generations=[[*FIRST[:1], b"", *FIRST[2:]]]),
    changed(generations=[[*FIRST[:1], b"\xff\xff" + bytes(32), *FIRST[2:]]]),
    changed(generations=[[*FIRST[:2], FIRST[3] + 1, *FIRST[3:]]]),
    changed(generations=[[*FIRST[:4], b"", FIRST[5]]]),
    changed(announced=False, generations=[FIRST]),
    changed(rsa=b""),
    changed(rsa=bytes(4097)),
    changed(ed25519=bytes(31)),
    changed(secrets=bytes(MAX_SECRETS_BYTES + 1)),
    changed(more=1),
    cbor2.dumps({"propose": b""}),
    cbor2.dumps({"ack": -1}),
    cbor2.dumps({"beat": False}),
    cbor2.dumps({"other": 1}),
    cbor2.dumps({"ack": 1, "beat": 1}),
    cbor2.dumps([]),
    cbor2.dumps({"state": dict(reversed(cbor2.loads(encode_message(STATE))["state"].items()))}),
    b"\xa1\x63ack\x18\x01",  # one, in two octets
]


@pytest.mark.parametrize("data", REFUSED)
def test_what_nobody_would_write_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_message(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (changed(secrets=bytes(MAX_SECRETS_BYTES + 1)), "secrets are too long"),
        (cbor2.dumps({"propose": b""}), "no secrets"),
        (cbor2.dumps({"other": 1}), "unknown kind"),
    ],
)
def test_what_is_wrong_with_a_message_is_said(data: bytes, what: str) -> None:
    with pytest.raises(MalformedMessage, match=what):
        decode_message(data)


def test_a_state_holds_as_many_generations_as_there_may_be() -> None:
    many = tuple(generation(2 * at, LEADER) for at in range(MAX_GENERATIONS + 1))
    assert decode_message(encode_message(state(*many[1:], leader=LEADER)))
    with pytest.raises(ValueError, match="too many generations"):
        state(*many, leader=LEADER)


def test_two_keys_with_one_secret_are_no_state() -> None:
    one = generation(10, LEADER)
    with pytest.raises(ValueError, match="told apart"):
        state(one, replace(one, key_id=20), leader=LEADER)


def test_secrets_are_not_shown() -> None:
    shown = repr([*MESSAGES, SharedKey(X_WING.code, b"secret-secret-secret-secret-1234")])
    assert "secret" not in shown.replace("secrets=", "")
    assert isinstance(STATE, State)
    assert str(STATE.generations[0].keys[0].private_key) not in shown


MOST = (1 << 53) - 1
RANGES = [
    ("serial", 1, MOST, lambda value: replace(STATE, serial=value)),
    ("turns", 0, MOST, lambda value: replace(STATE, turns=value)),
    ("rsa", 1, 4096, lambda size: replace(STATE, rsa=bytes(size))),
    ("ed25519", 32, 32, lambda size: replace(STATE, ed25519=bytes(size))),
    ("secrets", 0, 32 * 1024, lambda size: replace(STATE, secrets=bytes(size))),
    ("proposal", 1, 32 * 1024, lambda size: Propose(bytes(size))),
    ("members", 1, 64, lambda count: replace(STATE, members=members(count))),
    ("key_id", 0, 255, lambda value: replace(STATE.generations[0], key_id=value)),
    ("keys", 1, 2, lambda count: replace(STATE.generations[0], keys=keys(count))),
    ("ends", STATE.generations[0].retires, MOST, lambda at: replace(STATE.generations[0], ends=at)),
    ("retires", 0, MOST, lambda at: replace(STATE.generations[0], retires=at, ends=MOST)),
    ("private_key", 32, 32, lambda size: SharedKey(X_WING.code, bytes(size))),
]


def members(count: int) -> frozenset[bytes]:
    return frozenset([LEADER, *(bytes([at]) * 16 for at in range(count - 1))][:count])


def keys(count: int) -> tuple[SharedKey, ...]:
    return tuple(SharedKey(X_WING.code, bytes([at]) * 32) for at in range(count))


@pytest.mark.parametrize(
    ("name", "least", "most", "made"), RANGES, ids=[each[0] for each in RANGES]
)
def test_each_range_has_its_ends(
    name: str, least: int, most: int, made: Callable[[int], object]
) -> None:
    for value in (least, most):
        made(value)
    for value in (least - 1, most + 1):
        if value >= 0 or name in ("serial", "turns", "key_id", "retires"):
            with pytest.raises(ValueError, match=r"\w+"):
                made(value)


def test_identifiers_that_go_around_are_told_apart_too() -> None:
    with pytest.raises(ValueError, match="told apart"):
        state(generation(255, LEADER), generation(0, LEADER), leader=LEADER)
    state(generation(255, LEADER), generation(1, LEADER), leader=LEADER)


@pytest.mark.parametrize("serial", [0, MOST])
def test_serials_are_numbers_that_everybody_reads_alike(serial: int) -> None:
    assert decode_message(encode_message(Ack(serial))) == Ack(serial)
    with pytest.raises(MalformedMessage):
        decode_message(cbor2.dumps({"ack": MOST + 1}))

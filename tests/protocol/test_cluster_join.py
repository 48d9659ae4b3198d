"""Joins: two enclaves that are equal share a channel, and nobody else gets anything."""

import hashlib
import itertools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import cbor2
import pytest

from enclave_server.cluster.identity import Identity
from enclave_server.security_module.simulated import (
    SimulatedSecurityModule,
    new_root,
    simulated_pcrs,
)
from protocol.cluster_channel import Channel, leader_channel
from protocol.cluster_join import (
    KEM,
    LABEL,
    LEAD_SECONDS,
    MAX_AGE_SECONDS,
    Admitted,
    Entering,
    Equality,
    Joining,
    Leadership,
    Leading,
    Offer,
    Wait,
    lead,
    wait,
)
from protocol.errors import (
    AttestationError,
    AttestationReason,
    KeyRejected,
    MalformedMessage,
    ProtocolError,
)
from protocol.hpke import Aead, Kdf, setup_recipient, setup_sender
from scripts.fuzzing.mutator import mutations
from tests.fuzz import fuzz_cluster_join
from tests.support.enclaves import common_root, enclave

LEADERSHIP = Leadership(b"L" * 16, b"F" * 16)
MEMBER = b"m" * 16


@dataclass
class Join:
    """One join, step by step, between two enclaves."""

    leader: Identity
    follower: Identity

    def __post_init__(self) -> None:
        self.joining = Joining(self.follower.attest, self.follower.equality)

    def lead(self, now: float | None = None) -> tuple[bytes, Leading]:
        mine = self.leader
        return lead(self.joining.hello, LEADERSHIP, mine.attest, mine.equality, now or time.time())

    def offer(self, frame: bytes, now: float | None = None) -> Offer:
        found = self.joining.read(frame, now or time.time())
        assert isinstance(found, Offer)
        return found

    def joined(self) -> tuple[Leading, bytes, Entering]:
        frame, leading = self.lead()
        join, entering = self.offer(frame).join(MEMBER)
        return leading, join, entering


@pytest.fixture(name="join")
def a_join() -> Join:
    return Join(enclave(), enclave())


def reason(failure: pytest.ExceptionInfo[AttestationError]) -> AttestationReason:
    return failure.value.reason


def passes(one: Channel, other: Channel) -> None:
    for a, b in ((one, other), (other, one)):
        assert b.opening.open(a.sealing.seal(b"hello")[0]) == b"hello"


def test_equal_enclaves_share_a_channel(join: Join) -> None:
    frame, leading = join.lead()
    offer = join.offer(frame)
    assert offer.leadership == LEADERSHIP
    join_frame, entering = offer.join(MEMBER)
    welcome, admitted = leading.admit(join_frame, time.time())
    assert admitted.member == MEMBER
    passes(admitted.channel, entering.enter(welcome))


def with_more(frame: bytes) -> bytes:
    """Return a message with a member that it has not."""
    return cbor2.dumps({**cbor2.loads(frame), "zz": 1}, canonical=True)


def test_a_message_has_its_members_and_no_more(join: Join) -> None:
    leading, join_frame, entering = join.joined()
    lead_frame, _ = (again := Join(join.leader, join.follower)).lead()
    with pytest.raises(MalformedMessage):
        again.joining.read(with_more(lead_frame), time.time())
    with pytest.raises(MalformedMessage):
        lead(
            with_more(again.joining.hello),
            LEADERSHIP,
            again.leader.attest,
            again.leader.equality,
            0,
        )
    welcome, _ = leading.admit(join_frame, time.time())
    with pytest.raises(MalformedMessage):
        entering.enter(with_more(welcome))
    leading, join_frame, _ = Join(join.leader, join.follower).joined()
    with pytest.raises(MalformedMessage):
        leading.admit(with_more(join_frame), time.time())


def test_every_step_is_taken_once(join: Join) -> None:
    frame, leading = join.lead()
    offer = join.offer(frame)
    join_frame, entering = offer.join(MEMBER)
    welcome, _ = leading.admit(join_frame, time.time())
    entering.enter(welcome)
    again: list[Callable[[], object]] = [
        lambda: join.joining.read(frame, time.time()),
        lambda: offer.join(MEMBER),
        lambda: leading.admit(join_frame, time.time()),
        lambda: entering.enter(welcome),
    ]
    for step in again:
        with pytest.raises(ValueError, match=r"before|one join"):
            step()


@pytest.mark.parametrize("index", range(4))
def test_a_follower_with_another_register_gets_nothing(index: int) -> None:
    join = Join(enclave(), enclave({index: b"x" * 48}))
    # It would have to lie to itself about the leader to come as far.
    join.joining = Joining(join.follower.attest, join.leader.equality)
    leading, join_frame, _ = join.joined()
    with pytest.raises(AttestationError) as failure:
        leading.admit(join_frame, time.time())
    assert reason(failure) is AttestationReason.PCR_MISMATCH


@pytest.mark.parametrize("index", range(4))
def test_a_leader_with_another_register_is_not_joined(index: int) -> None:
    join = Join(enclave({index: b"x" * 48}), enclave())
    frame, _ = join.lead()
    with pytest.raises(AttestationError) as failure:
        join.joining.read(frame, time.time())
    assert reason(failure) is AttestationReason.PCR_MISMATCH


def test_debug_mode_is_equal_to_nothing() -> None:
    zeros = {index: bytes(48) for index in range(3)}
    with pytest.raises(ValueError, match="zero"):
        Equality(enclave().module.root, zeros)
    with pytest.raises(ValueError, match="no registers"):
        Equality(enclave().module.root, {})
    with pytest.raises(ValueError, match="no register"):
        Equality(enclave().module.root, {0: b"short"})


def test_a_follower_in_debug_mode_gets_nothing(join: Join) -> None:
    debugged = Join(join.leader, join.follower)
    module = SimulatedSecurityModule(
        root=common_root(), pcrs={index: bytes(48) for index in range(3)}
    )
    debugged.joining = Joining(
        lambda data, nonce: module.attest(data, None, nonce), join.leader.equality
    )
    leading, join_frame, _ = debugged.joined()
    with pytest.raises(AttestationError) as failure:
        leading.admit(join_frame, time.time())
    assert reason(failure) is AttestationReason.DEBUG_MODE


def test_another_root_is_refused_by_both() -> None:
    elsewhere = enclave(root=new_root(datetime.now(UTC)))
    stranger = Join(enclave(), elsewhere)
    stranger.joining = Joining(elsewhere.attest, stranger.leader.equality)
    leading, join_frame, _ = stranger.joined()
    with pytest.raises(AttestationError) as failure:
        leading.admit(join_frame, time.time())
    assert reason(failure) is AttestationReason.CHAIN
    impostor = Join(elsewhere, enclave())
    frame, _ = impostor.lead()
    with pytest.raises(AttestationError):
        impostor.joining.read(frame, time.time())


def test_a_replayed_join_and_one_of_another_lead_are_refused(join: Join) -> None:
    _, recorded, _ = join.joined()
    later = Join(join.leader, enclave())
    _, leading = later.lead()
    with pytest.raises(AttestationError) as failure:
        leading.admit(recorded, time.time())
    assert reason(failure) is AttestationReason.NONCE_MISMATCH


def test_a_replayed_lead_is_refused(join: Join) -> None:
    frame, _ = join.lead()
    later = Join(join.leader, enclave())
    with pytest.raises(AttestationError) as failure:
        later.joining.read(frame, time.time())
    assert reason(failure) is AttestationReason.NONCE_MISMATCH


def test_evidence_for_clients_is_no_document_of_a_join(join: Join) -> None:
    frame, leading = join.lead()
    members = cbor2.loads(frame)
    nonce = cbor2.loads(join.joining.hello)["hello"]
    members["lead"] = join.leader.module.attest(cbor2.dumps({"ohttp_keys": b""}), None, nonce)
    with pytest.raises(AttestationError) as failure:
        join.joining.read(cbor2.dumps(members, canonical=True), time.time())
    assert reason(failure) is AttestationReason.UNBOUND_KEYS
    assert "made for something else" in str(failure.value)
    del leading


def test_a_lead_is_no_join_and_a_join_no_lead(join: Join) -> None:
    leading, join_frame, _ = join.joined()
    members = cbor2.loads(join_frame)
    nonce = hashlib.sha256(leading._frame).digest()
    members["join"] = join.follower.attest(LABEL + b"lead\0" + bytes(48), nonce)
    with pytest.raises(AttestationError) as failure:
        leading.admit(cbor2.dumps(members, canonical=True), time.time())
    assert reason(failure) is AttestationReason.UNBOUND_KEYS


@pytest.mark.parametrize("name", ["key", "enc"])
def test_what_stands_beside_a_join_is_what_it_binds(join: Join, name: str) -> None:
    leading, join_frame, _ = join.joined()
    members = cbor2.loads(join_frame)
    other = KEM.load_private_key(b"h" * 32).public_key
    sender = setup_sender(KEM, other, Kdf.HKDF_SHA256, Aead.AES_256_GCM, b"")
    members[name] = other if name == "key" else sender.enc
    with pytest.raises(AttestationError) as failure:
        leading.admit(cbor2.dumps(members, canonical=True), time.time())
    assert reason(failure) is AttestationReason.UNBOUND_KEYS


def test_the_key_beside_a_lead_is_the_one_that_it_binds(join: Join) -> None:
    frame, _ = join.lead()
    members = cbor2.loads(frame)
    members["key"] = KEM.load_private_key(b"h" * 32).public_key
    with pytest.raises(AttestationError) as failure:
        join.joining.read(cbor2.dumps(members, canonical=True), time.time())
    assert reason(failure) is AttestationReason.UNBOUND_KEYS


def test_a_host_that_answers_the_join_itself_is_not_believed(join: Join) -> None:
    """It has both documents and all frames, and can seal to the follower's key as anybody can."""
    frame, _ = join.lead()
    join_frame, entering = join.offer(frame).join(MEMBER)
    members = cbor2.loads(join_frame)
    suite = Kdf.HKDF_SHA256, Aead.AES_256_GCM
    hashes = hashlib.sha256(frame).digest() + hashlib.sha256(join_frame).digest()
    to_follower = setup_sender(KEM, members["key"], *suite, LABEL + b"to follower\0" + hashes)
    own = KEM.load_private_key(b"h" * 32)
    guess = setup_sender(KEM, own.public_key, *suite, b"")
    forged = leader_channel(to_follower, setup_recipient(KEM, guess.enc, own, *suite, b""))
    welcome = cbor2.dumps({"v": 1, "welcome": to_follower.enc}, canonical=True)
    with pytest.raises(KeyRejected):
        entering.enter(welcome).opening.open(forged.sealing.seal(b"keys of the host's")[0])


@pytest.mark.parametrize(("age", "works"), [(0, True), (LEAD_SECONDS, True), (10.1, False)])
def test_a_lead_is_good_for_ten_seconds(join: Join, age: float, works: bool) -> None:
    leading, join_frame, _ = join.joined()
    if works:
        assert isinstance(leading.admit(join_frame, leading._made + age)[1], Admitted)
        return
    with pytest.raises(MalformedMessage, match="old"):
        leading.admit(join_frame, leading._made + age)


def test_a_document_is_good_for_a_minute(join: Join) -> None:
    frame, _ = join.lead()
    with pytest.raises(AttestationError) as failure:
        join.joining.read(frame, time.time() + MAX_AGE_SECONDS + 5)
    assert reason(failure) is AttestationReason.STALE


def test_a_peer_that_does_not_lead_says_so(join: Join) -> None:
    assert join.joining.read(wait(b"w" * 32), time.time()) == Wait(b"w" * 32)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xa0",
        cbor2.dumps({"v": 1}),
        cbor2.dumps({"v": 2, "wait": bytes(32)}),
        cbor2.dumps({"v": True, "wait": bytes(32)}),
        cbor2.dumps({"v": 1, "wait": bytes(31)}),
        cbor2.dumps({"v": 1, "wait": bytes(32), "x": 1}, canonical=True),
        cbor2.dumps({"wait": bytes(32), "v": 1}),
        cbor2.dumps({"v": 1, "key": bytes(1216), "lead": 7}, canonical=True),
        cbor2.dumps({"v": 1, "key": bytes(1215), "lead": b"x"}, canonical=True),
        cbor2.dumps([1]),
    ],
)
def test_what_is_neither_lead_nor_wait_is_refused(join: Join, frame: bytes) -> None:
    with pytest.raises(ProtocolError):
        join.joining.read(frame, time.time())


def test_every_truncation_of_every_message_is_refused(join: Join) -> None:
    frame, leading = join.lead()
    join_frame, entering = join.offer(frame).join(MEMBER)
    welcome, _ = leading.admit(join_frame, time.time())
    mine = join.leader
    readers: list[tuple[bytes, Callable[[bytes], object]]] = [
        (
            join.joining.hello,
            lambda data: lead(data, LEADERSHIP, mine.attest, mine.equality, time.time()),
        ),
        (frame, lambda data: again(join).read(data, time.time())),
        (join_frame, lambda data: rest(leading, mine).admit(data, time.time())),
        (welcome, lambda data: renewed(entering).enter(data)),
    ]
    for message, read in readers:
        for size in range(len(message)):
            with pytest.raises(ProtocolError):
                read(message[:size])
        with pytest.raises(ProtocolError):
            read(message + b"\0")


def again(join: Join) -> Joining:
    nonce = cbor2.loads(join.joining.hello)["hello"]
    return Joining(join.follower.attest, join.follower.equality, nonce=nonce)


def rest(leading: Leading, identity: Identity) -> Leading:
    return Leading(leading._frame, KEM.load_private_key(bytes(32)), identity.equality, time.time())


def renewed(entering: Entering) -> Entering:
    return Entering(KEM.load_private_key(bytes(32)), entering._to_leader, entering._info)


def test_mutated_messages_give_no_channel(join: Join) -> None:
    """Of both messages with which an enclave proves itself."""
    chance = random.Random(15)
    frame, leading = join.lead()
    join_frame, _ = join.offer(frame).join(MEMBER)
    for _ in range(400):
        for message, read in (
            (frame, lambda data: again(join).read(data, time.time())),
            (join_frame, lambda data: rest(leading, join.leader).admit(data, time.time())),
        ):
            data = bytearray(message)
            at = chance.randrange(len(data))
            data[at] ^= chance.randrange(1, 256)
            with pytest.raises(ProtocolError):
                read(bytes(data))


@pytest.mark.slow  # six seconds: `tests/fuzz` has two hundred of them in every run
def test_ten_thousand_mutated_messages_are_refused_by_every_reader() -> None:
    """Cut, spliced, repeated and changed at random; none is taken but the message itself."""
    seeds = fuzz_cluster_join.seeds()
    tried = refused = 0
    for data in itertools.islice(mutations(seeds, 15, fuzz_cluster_join.MAX_BYTES), 10_000):
        fuzz_cluster_join.run(data)
        tried += 1
        refused += data not in seeds
    assert tried == 10_000
    assert refused > 9_000


def test_simulated_registers_are_those_of_one_image() -> None:
    assert enclave().equality.pcrs == {index: simulated_pcrs()[index] for index in range(4)}


def test_every_message_says_which_version_it_is_of(join: Join) -> None:
    frame, leading = join.lead()
    joined, _ = join.offer(frame).join(MEMBER)
    welcome, _ = leading.admit(joined, time.time())
    messages = [join.joining.hello, frame, joined, welcome, wait(b"w" * 32)]
    assert [cbor2.loads(message)["v"] for message in messages] == [1] * 5
    assert [len(cbor2.loads(message)) for message in messages] == [2, 3, 4, 2, 2]

"""Tests of snapshots: what the supervisor sends is what a worker gets, and prints no secret."""

from dataclasses import replace

import msgspec

from enclave_server.processes.snapshot import (
    MAX_SNAPSHOT_BYTES,
    Snapshot,
    _Message,
    decode_snapshot,
    encode_snapshot,
)
from enclave_server.provision.proposal import MAX_PROPOSAL_BYTES, Proposal
from protocol.encapsulation import GatewayKey
from protocol.kem import Kem
from protocol.provisioning import Secrets
from tests.enclave_server.keys.test_ring import SIGNING_KEYS, START, made_key_set
from tests.support.toy_kem import toy

__all__ = ["toy"]

SECRETS = Secrets({"u": "sk-secret"}, {"u": {"project": "p"}})


def test_a_snapshot_carries_everything() -> None:
    keys = made_key_set(START + 23 * 3600)
    read = decode_snapshot(encode_snapshot(Snapshot(9, keys)), SIGNING_KEYS)
    assert (read.serial, read.keys) == (9, keys)
    assert [key.private_key for key in read.keys.gateway_keys] == [
        key.private_key for key in keys.gateway_keys
    ]
    assert read.provisioned is None


def test_keys_of_any_mechanism_arrive(toy: Kem) -> None:
    keys = made_key_set()
    two = (GatewayKey.generate(1, toy), *keys.gateway_keys)
    both = replace(keys, gateway_keys=two, ends=(keys.ends[0], *keys.ends))
    read = decode_snapshot(encode_snapshot(Snapshot(9, both)), SIGNING_KEYS)
    assert read.keys == both
    assert read.keys.gateway_keys[0].kem is toy


def test_secrets_travel_beside_the_keys() -> None:
    snapshot = Snapshot(9, made_key_set(), Proposal.of(SECRETS))
    assert decode_snapshot(encode_snapshot(snapshot), SIGNING_KEYS) == snapshot


def test_the_largest_proposal_fits() -> None:
    large = Proposal.of(Secrets({"u": "x" * MAX_PROPOSAL_BYTES}, {}))
    keys = made_key_set(START + 23 * 3600)
    assert len(encode_snapshot(Snapshot(2**63, keys, large))) < MAX_SNAPSHOT_BYTES


def test_no_secret_is_printed() -> None:
    keys = made_key_set()
    snapshot = Snapshot(1, keys, Proposal.of(SECRETS))
    assert repr(keys.gateway_keys[0].private_key) not in repr(snapshot)
    assert "sk-secret" not in repr(snapshot)
    message = msgspec.msgpack.decode(encode_snapshot(snapshot), type=_Message)
    assert message.keys
    assert repr(message) == "_Message(serial=1)"

"""What a worker serves with, on its way from the supervisor: keys, and secrets beside them."""

from dataclasses import dataclass

import msgspec

from enclave_server.gateway.standing import Standing
from enclave_server.keys.ring import KeySet
from enclave_server.provision.proposal import Proposal
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence
from protocol.kem import KEMS
from protocol.signature import SigningKeys, key_identifier

MAX_SNAPSHOT_BYTES = 128 * 1024
"""Eight generations of keys, evidence, whose document has at most 16 KiB, an accepted proposal."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The keys of a moment, and what the administrator handed over, once that has happened.

    In a cluster there is where this enclave stands. Later snapshots have higher numbers.
    """

    serial: int
    keys: KeySet
    provisioned: Proposal | None = None
    standing: Standing | None = None


class _Message(msgspec.Struct, frozen=True):
    """A snapshot as it is sent, without the signing keys."""

    serial: int
    keys: tuple[tuple[int, int, bytes, float], ...]  # identifier, KEM, private key, end
    evidence: bytes
    expires: float
    provisioned: Proposal | None
    standing: tuple[dict[int, bytes], bytes] | None

    def __repr__(self) -> str:
        return f"_Message(serial={self.serial})"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return `snapshot` for a worker, which has the signing keys already; the bytes are secret."""
    keys = snapshot.keys
    pairs = zip(keys.gateway_keys, keys.ends, strict=True)
    return msgspec.msgpack.encode(
        _Message(
            snapshot.serial,
            tuple((key.key_id, key.kem.code, key.private_key, ends) for key, ends in pairs),
            keys.evidence.encode(),
            keys.expires,
            snapshot.provisioned,
            _pair(snapshot.standing),
        )
    )


def decode_snapshot(data: bytes, signing_keys: SigningKeys) -> Snapshot:
    """Return the snapshot that `encode_snapshot` was given."""
    message = msgspec.msgpack.decode(data, type=_Message)
    evidence = Evidence.decode(message.evidence)
    keys = KeySet(
        tuple(
            GatewayKey(key_id, private, kem=KEMS[code]) for key_id, code, private, _ in message.keys
        ),
        tuple(ends for *_, ends in message.keys),
        evidence.ohttp_keys,
        evidence,
        signing_keys,
        key_identifier(signing_keys.rsa.public_key()),
        message.expires,
    )
    standing = None if message.standing is None else Standing(*message.standing)
    return Snapshot(message.serial, keys, message.provisioned, standing)


def _pair(standing: Standing | None) -> tuple[dict[int, bytes], bytes] | None:
    return None if standing is None else (dict(standing.ownership), standing.statement)

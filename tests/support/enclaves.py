"""Identities of simulated enclaves under one root, as they meet in a cluster."""

import functools
import os
import time
from datetime import UTC, datetime

from enclave_server.cluster.identity import Identity, make_identity
from enclave_server.security_module.simulated import Authority, SimulatedSecurityModule, new_root
from protocol.cluster_state import SharedGeneration, SharedKey, State
from protocol.kem import X25519_HKDF_SHA256, X_WING
from protocol.signature import SigningKeys
from protocol.slots import share_slots

REGISTERS = (0, 1, 2, 3)


@functools.cache
def common_root() -> Authority:
    """Return the root of all modules here that are under one."""
    return new_root(datetime.now(UTC))


def enclave(pcrs: dict[int, bytes] | None = None, root: Authority | None = None) -> Identity:
    """Return the identity of an enclave of the usual image, or with other registers or root."""
    module = SimulatedSecurityModule(root=root or common_root(), pcrs=pcrs)
    return make_identity(module, REGISTERS)


@functools.cache
def signing_keys(number: int = 0) -> SigningKeys:
    """Return the signing keys of the family of that number."""
    return SigningKeys.generate()


def generation(key_id: int, *owners: bytes, early: bool = False) -> SharedGeneration:
    """Return keys that are shared among `owners`, and retire in an hour."""
    now = round(time.time() * 1000)
    keys = tuple(SharedKey(kem.code, os.urandom(32)) for kem in (X_WING, X25519_HKDF_SHA256))
    return SharedGeneration(
        key_id, keys, now + 3_600_000, now + 4_200_000, share_slots(owners), early
    )


def state(*generations: SharedGeneration, leader: bytes, secrets: bytes = b"") -> State:
    """Return the state of a leader that has these keys; its own are not those of an RSA."""
    members = frozenset({leader}).union(*(each.table.owners for each in generations))
    return State(1, 1, leader, members, True, generations, b"der", bytes(32), secrets)

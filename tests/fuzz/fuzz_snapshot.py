"""What passes between processes: snapshots and proposals read back; garbage is no proposal."""

import msgspec

from enclave_server.processes import snapshot
from enclave_server.processes.snapshot import Snapshot
from enclave_server.provision import proposal
from enclave_server.provision.proposal import Proposal
from protocol.errors import ProtocolError
from protocol.provisioning import Secrets
from tests.enclave_server.keys.test_ring import SIGNING_KEYS, START, made_key_set
from tests.fuzz.faults import fails, returns
from tests.fuzz.reading import Attempt, Refused

MAX_BYTES = 8192
# Only our own parent sends snapshots: it is enough that a wrong one raises what is caught.
attempt = Attempt(msgspec.MsgspecError, ProtocolError, ValueError, KeyError)

FAULTS = (
    fails("enclave_server.processes.snapshot.key_identifier"),
    returns("enclave_server.processes.snapshot.encode_snapshot", lambda data: data[:-1]),
    returns("enclave_server.provision.proposal.decode_proposal", lambda found: found and 1),
)


def seeds() -> list[bytes]:
    """Return a snapshot, one with secrets, and proposals."""
    given = Proposal.of(Secrets({"u": "sk"}, {"u": {"project": "p"}}))
    keys = made_key_set(START)
    snapshots = [Snapshot(1, keys), Snapshot(2**40, keys, given)]
    return [*map(snapshot.encode_snapshot, snapshots), given.encode(), b"\x80", b""]


def run(data: bytes) -> None:
    """Read `data` as both, and write what is read."""
    found = attempt(snapshot.decode_snapshot, data, SIGNING_KEYS)
    if not isinstance(found, Refused):
        again = snapshot.decode_snapshot(snapshot.encode_snapshot(found), SIGNING_KEYS)
        assert (again.serial, again.provisioned) == (found.serial, found.provisioned)
        assert again.keys.gateway_keys == found.keys.gateway_keys
        assert again.keys.evidence == found.keys.evidence
    given = proposal.decode_proposal(data)
    if given is not None:
        assert isinstance(given, Proposal)
        assert proposal.decode_proposal(given.encode()) == given

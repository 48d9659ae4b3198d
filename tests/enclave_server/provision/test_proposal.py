"""Secrets on their way between processes."""

import msgspec
import pytest

from enclave_server.provision.proposal import (
    IDENTIFIER_BYTES,
    MAX_PROPOSAL_BYTES,
    Proposal,
    decode_proposal,
)
from protocol.provisioning import Secrets

SECRETS = Secrets({"a": "sk-a", "b": "sk-b"}, {"a": {"project": "p"}})


def test_what_is_proposed_arrives() -> None:
    proposal = Proposal.of(SECRETS)
    assert decode_proposal(proposal.encode()) == proposal
    assert (proposal.keys, proposal.settings) == (SECRETS.keys, SECRETS.settings)
    assert len(proposal.encode()) < MAX_PROPOSAL_BYTES


def test_two_proposals_of_the_same_are_told_apart() -> None:
    first, second = Proposal.of(SECRETS), Proposal.of(SECRETS)
    assert first.identifier != second.identifier
    assert len(first.identifier) == IDENTIFIER_BYTES


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x80", b"\xff" * 40, msgspec.msgpack.encode({"identifier": b"x"})],
)
def test_garbage_is_no_proposal(data: bytes) -> None:
    assert decode_proposal(data) is None


def test_no_key_is_printed() -> None:
    assert repr(Proposal.of(SECRETS)) == "Proposal(2 keys)"

"""Errors: one root for all that a peer's octets can raise, and steps in their order."""

import inspect

import pytest

from protocol import errors
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    IncompleteMessage,
    KeyRejected,
    MalformedMessage,
    ProtocolError,
    SignatureInvalid,
    TruncatedMessage,
)


def test_all_are_of_one_root() -> None:
    found = [
        each
        for _, each in inspect.getmembers(errors, inspect.isclass)
        if issubclass(each, Exception)
    ]
    assert len(found) == 7
    assert all(issubclass(each, ProtocolError) for each in found)
    assert not issubclass(ProtocolError, ValueError)  # which is for our own mistakes


@pytest.mark.parametrize("kind", [IncompleteMessage, TruncatedMessage])
def test_what_is_cut_is_malformed(kind: type[ProtocolError]) -> None:
    assert issubclass(kind, MalformedMessage)


@pytest.mark.parametrize("kind", [KeyRejected, SignatureInvalid, AttestationError])
def test_what_is_refused_is_not(kind: type[ProtocolError]) -> None:
    assert not issubclass(kind, MalformedMessage)


def test_steps_are_in_the_order_of_verification() -> None:
    assert [step.name for step in sorted(AttestationStep)] == [
        "PLATFORM",
        "COSE_SIGN1",
        "CHAIN",
        "MEASUREMENTS",
        "FRESHNESS",
        "BINDING",
    ]


def test_a_failed_verification_says_where_and_why() -> None:
    error = AttestationError(AttestationStep.CHAIN, AttestationReason.EXPIRED, "detail")
    assert (error.step, error.reason) == (AttestationStep.CHAIN, AttestationReason.EXPIRED)
    assert str(error) == "detail"

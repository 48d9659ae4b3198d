"""One root for every error that input from a peer can raise."""

import inspect

import pytest

from protocol import errors, event_stream, strict_json
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


def test_every_error_has_the_one_root() -> None:
    for module in (errors, event_stream, strict_json):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, BaseException):
                assert issubclass(kind, ProtocolError)
    assert not issubclass(ProtocolError, ValueError)  # which is for our own mistakes


@pytest.mark.parametrize("kind", [IncompleteMessage, TruncatedMessage])
def test_what_is_cut_is_malformed(kind: type[ProtocolError]) -> None:
    assert issubclass(kind, MalformedMessage)


@pytest.mark.parametrize("kind", [KeyRejected, SignatureInvalid, AttestationError])
def test_what_is_refused_is_not_malformed(kind: type[ProtocolError]) -> None:
    assert not issubclass(kind, MalformedMessage)


def test_steps_are_in_their_order() -> None:
    assert list(AttestationStep) == sorted(AttestationStep)
    error = AttestationError(AttestationStep.CHAIN, AttestationReason.EXPIRED, "a sentence")
    assert (error.step, error.reason, str(error)) == (
        AttestationStep.CHAIN,
        AttestationReason.EXPIRED,
        "a sentence",
    )

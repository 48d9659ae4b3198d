"""One root for every error that input from a peer can raise."""

import inspect

from protocol import errors, event_stream, strict_json
from protocol.errors import AttestationError, AttestationReason, AttestationStep, ProtocolError


def test_every_error_has_the_one_root() -> None:
    for module in (errors, event_stream, strict_json):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, BaseException):
                assert issubclass(kind, ProtocolError)


def test_steps_are_in_their_order() -> None:
    assert list(AttestationStep) == sorted(AttestationStep)
    error = AttestationError(AttestationStep.CHAIN, AttestationReason.EXPIRED, "a sentence")
    assert (error.step, error.reason, str(error)) == (
        AttestationStep.CHAIN,
        AttestationReason.EXPIRED,
        "a sentence",
    )

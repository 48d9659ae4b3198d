"""The errors that peer input can raise; a peer never sees their text."""

import enum


class ProtocolError(Exception):
    """Root of every error that input from a peer can raise."""


class MalformedMessage(ProtocolError):
    """The bytes do not follow the format's grammar."""


class IncompleteMessage(MalformedMessage):
    """The bytes end inside an element that more bytes could complete."""


class TruncatedMessage(MalformedMessage):
    """A chunked message ended before its final chunk."""


class KeyRejected(ProtocolError):
    """No key opens the message: unknown identifier, unsupported suite, or altered bytes.

    One class for all of these, so that a gateway cannot be used as an oracle. A token, or a request
    for one, is of another key.
    """


class AttestationStep(enum.IntEnum):
    """The steps of verification, in their order."""

    PLATFORM = 0  # the evidence names the platform whose root the caller trusts
    COSE_SIGN1 = 1  # strict CBOR, the document's grammar, and the leaf's ES384 signature
    CHAIN = 2  # certificates from the pinned root to the leaf, at the time given
    MEASUREMENTS = 3  # PCRs, debug mode
    FRESHNESS = 4  # nonce, age
    BINDING = 5  # the keys served are the keys attested


class AttestationReason(enum.Enum):
    """Why a verification failed, for programs; the text of the error is for people."""

    MALFORMED = "malformed"
    SIGNATURE = "signature"
    CHAIN = "chain"
    EXPIRED = "expired"
    PCR_MISMATCH = "pcr-mismatch"
    DEBUG_MODE = "debug-mode"
    NONCE_MISMATCH = "nonce-mismatch"
    STALE = "stale"
    UNBOUND_KEYS = "unbound-keys"
    CATALOGUE = "catalogue"
    SIMULATED = "simulated"


class AttestationError(ProtocolError):
    """An attestation document, or evidence around it, is not what it claims to be."""

    def __init__(self, step: AttestationStep, reason: AttestationReason, detail: str) -> None:
        super().__init__(detail)
        self.step = step
        self.reason = reason


class SignatureInvalid(ProtocolError):
    """The signature of an answer, a statement or a token does not match."""

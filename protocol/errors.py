"""The errors that peer input can raise; a peer never sees their text."""


class ProtocolError(Exception):
    """Root of every error that input from a peer can raise."""


class MalformedMessage(ProtocolError):
    """The bytes do not follow the format's grammar."""


class TruncatedMessage(MalformedMessage):
    """A chunked message ended before its final chunk."""


class KeyRejected(ProtocolError):
    """No key opens the request: unknown identifier, unsupported suite, or altered bytes.

    One class for all of these, so that a gateway cannot be used as an oracle.
    """


class AttestationError(ProtocolError):
    """An attestation document, or evidence around it, is not what it claims to be."""


class SignatureInvalid(ProtocolError):
    """The signature of an answer does not match."""

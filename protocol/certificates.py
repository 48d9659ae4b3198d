"""The certificate path of an attestation document (RFC 5280, Section 6, for one kind of path).

The path is taken as it is given, root first and leaf last, so nothing is searched for: every link
must be the next one's issuer. All keys are on P-384 and all signatures are ECDSA with SHA-384.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from protocol.errors import AttestationError, AttestationReason, AttestationStep

AWS_ROOT_G1 = x509.load_pem_x509_certificate(b"""-----BEGIN CERTIFICATE-----
MIICETCCAZagAwIBAgIRAPkxdWgbkK/hHUbMtOTn+FYwCgYIKoZIzj0EAwMwSTEL
MAkGA1UEBhMCVVMxDzANBgNVBAoMBkFtYXpvbjEMMAoGA1UECwwDQVdTMRswGQYD
VQQDDBJhd3Mubml0cm8tZW5jbGF2ZXMwHhcNMTkxMDI4MTMyODA1WhcNNDkxMDI4
MTQyODA1WjBJMQswCQYDVQQGEwJVUzEPMA0GA1UECgwGQW1hem9uMQwwCgYDVQQL
DANBV1MxGzAZBgNVBAMMEmF3cy5uaXRyby1lbmNsYXZlczB2MBAGByqGSM49AgEG
BSuBBAAiA2IABPwCVOumCMHzaHDimtqQvkY4MpJzbolL//Zy2YlES1BR5TSksfbb
48C8WBoyt7F2Bw7eEtaaP+ohG2bnUs990d0JX28TcPQXCEPZ3BABIeTPYwEoCWZE
h8l5YoQwTcU/9KNCMEAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQUkCW1DdkF
R+eWw5b6cp3PmanfS5YwDgYDVR0PAQH/BAQDAgGGMAoGCCqGSM49BAMDA2kAMGYC
MQCjfy+Rocm9Xue4YnwWmNJVA44fA0P5W2OpYow9OYCVRaEevL8uO1XYru5xtMPW
rfMCMQCi85sWBbJwKKXdS6BptQFuZbT73o/gBh1qUxl/nNr12UO8Yfwr6wPLb+6N
IwLz3/Y=
-----END CERTIFICATE-----
""")
"""AWS Nitro Enclaves Root-G1, SHA-256 fingerprint 641A0321 … 3F68F79BB5B, until 2049."""

MAX_PATH_CERTIFICATES = 9
"""AWS's paths have five certificates; each more costs the verifier one ECDSA verification."""

UNDERSTOOD = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}

# What cryptography raises for ill-formed certificates. The warning is about encodings that it
# still tolerates; a caller who turns warnings into errors gets a refusal like any other.
ILL_FORMED = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    CryptographyDeprecationWarning,
)

Read = TypeVar("Read")
Extension = TypeVar("Extension", bound=x509.ExtensionType)


def load_root(root: bytes | x509.Certificate) -> x509.Certificate:
    """Return the caller's own trust anchor, given as DER, PEM or an object."""
    if isinstance(root, x509.Certificate):
        return root
    if root.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(root)
    return x509.load_der_x509_certificate(root)


def load_certificate(der: bytes) -> x509.Certificate:
    """Return a certificate of a document, or raise AttestationError."""
    return _readable(lambda: x509.load_der_x509_certificate(der))


def public_key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    """Return a certificate's key, which must be on P-384."""
    key = _readable(certificate.public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise _refused("a key that is not on P-384")
    return key


def verify_path(path: Sequence[bytes], root: x509.Certificate, moment: datetime) -> None:
    """Raise AttestationError unless `path`, root first, leads from `root` to its last certificate.

    `moment` is the aware time at which every certificate must be valid.
    """
    # The anchor is compared as a whole: a name or a key alone could be somebody else's certificate.
    if path[0] != root.public_bytes(Encoding.DER):
        raise _refused("the path does not begin at the trusted root")
    if len(path) > MAX_PATH_CERTIFICATES or len(set(path)) != len(path):
        raise _refused("a longer path than any real one, or a certificate twice")
    certificates = [load_certificate(der) for der in path]
    for certificate in certificates:
        _check_form(certificate)
        _check_validity(certificate, moment)
    for below, certificate in enumerate(reversed(certificates[:-1])):
        _check_authority(certificate, below)
    _check_leaf(certificates[-1])
    for issuer, certificate in pairwise(certificates):
        _check_issued_by(certificate, issuer)


def _check_form(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise _refused("a certificate that is not of version 3")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise _refused("a certificate that is not signed by ECDSA with SHA-384")
    for extension in _readable(lambda: certificate.extensions):
        # RFC 5280, Section 4.2: a system MUST reject the certificate if it encounters
        # a critical extension it does not recognize.
        if extension.critical and extension.oid not in UNDERSTOOD:
            raise _refused("an unknown critical extension")


def _check_validity(certificate: x509.Certificate, moment: datetime) -> None:
    start = _readable(lambda: certificate.not_valid_before_utc)
    end = _readable(lambda: certificate.not_valid_after_utc)
    if not start <= moment <= end:
        raise AttestationError(
            AttestationStep.CHAIN,
            AttestationReason.EXPIRED,
            f"a certificate is valid from {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC "
            f"and not at {moment:%Y-%m-%d %H:%M:%S}",
        )


def _check_authority(certificate: x509.Certificate, authorities_below: int) -> None:
    """Check the right to issue; `authorities_below` counts those between this one and the leaf."""
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        raise _refused("an issuer that is not a certificate authority")
    if constraints.path_length is not None and constraints.path_length < authorities_below:
        raise _refused("more authorities than a path length constraint allows")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.key_cert_sign:
        raise _refused("an issuer whose key may not sign certificates")


def _check_leaf(certificate: x509.Certificate) -> None:
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise _refused("a document signed by a certificate authority itself")
    usage = _extension(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise _refused("a leaf whose key may not sign documents")


def _check_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    public_key(issuer)
    if _readable(lambda: certificate.issuer != issuer.subject):
        raise _refused("a certificate that names another issuer")
    try:
        _readable(lambda: certificate.verify_directly_issued_by(issuer))
    except InvalidSignature:
        raise _refused("a certificate's signature does not verify") from None


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _readable(read: Callable[[], Read]) -> Read:
    try:
        return read()
    except ILL_FORMED:
        raise _refused("an ill-formed certificate") from None


def _refused(detail: str) -> AttestationError:
    return AttestationError(AttestationStep.CHAIN, AttestationReason.CHAIN, detail)

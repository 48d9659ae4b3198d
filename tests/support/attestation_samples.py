"""Attestation documents to order: an authority of its own, every part of which can be wrong."""

import base64
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from protocol import cose
from protocol.attestation import AttestationError, AttestationReason, AttestationStep
from protocol.encapsulation import GatewayKey
from protocol.evidence import Evidence, Platform, encode_user_data
from protocol.key_config import encode_key_configs
from protocol.signature import SigningKeys

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NONCE = b"a nonce of a client"
PCRS = {0: b"\x10" * 48, 1: b"\x11" * 48, 2: b"\x12" * 48, 3: bytes(48)}
MODULE_ID = "i-0123456789abcdef0-enc0123456789abcdef"
VECTORS = Path(__file__).parents[1] / "vectors" / "nitro-attestation-documents.json"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@functools.cache
def key(name: str) -> ec.EllipticCurvePrivateKey:
    """One P-384 key for each name."""
    return ec.generate_private_key(ec.SECP384R1())


@functools.cache
def rsa_key(name: str) -> rsa.RSAPrivateKey:
    """One RSA-2048 key for each name."""
    return rsa.generate_private_key(65537, 2048)


@functools.cache
def signing_keys(name: str) -> SigningKeys:
    """The RSA key of that name, and one Ed25519 key."""
    return SigningKeys(rsa_key(name), Ed25519PrivateKey.generate())


def usage(*purposes: str) -> x509.KeyUsage:
    names = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement "
        "key_cert_sign crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{name: name in purposes for name in names.split()})


@dataclass(frozen=True)
class Certificate:
    """A certificate to be; the defaults are those of an intermediate authority."""

    subject: str
    issuer: str
    key: Any
    signer: Any
    ca: bool | None = True
    path_length: int | None = None
    usage: x509.KeyUsage | None = field(default_factory=lambda: usage("key_cert_sign"))
    start: datetime = NOW - timedelta(hours=1)
    end: datetime = NOW + timedelta(hours=1)
    digest: SHA256 | SHA384 = field(default_factory=SHA384)
    more: Sequence[tuple[x509.ExtensionType, bool]] = ()

    def der(self) -> bytes:
        builder = x509.CertificateBuilder(
            issuer_name=name(self.issuer),
            subject_name=name(self.subject),
            public_key=self.key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=self.start,
            not_valid_after=self.end,
        )
        if self.ca is not None:
            constraints = x509.BasicConstraints(self.ca, self.path_length)
            builder = builder.add_extension(constraints, critical=True)
        if self.usage is not None:
            builder = builder.add_extension(self.usage, critical=True)
        for extension, critical in self.more:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.signer, self.digest).public_bytes(Encoding.DER)


def name(common_name: str) -> x509.Name:
    """A name with this one attribute; an empty name for an empty string."""
    attribute = x509.NameOID.COMMON_NAME, common_name
    return x509.Name([x509.NameAttribute(*attribute)] if common_name else [])


def certificates() -> dict[str, Certificate]:
    """A good path: root, region, zone, leaf."""
    leaf = Certificate(
        "leaf", "zone", key("leaf"), key("zone"), ca=False, usage=usage("digital_signature")
    )
    return {
        "root": Certificate("root", "root", key("root"), key("root")),
        "region": Certificate("region", "root", key("region"), key("root"), path_length=1),
        "zone": Certificate("zone", "region", key("zone"), key("region"), path_length=0),
        "leaf": leaf,
    }


@functools.cache
def path_der() -> tuple[bytes, ...]:
    return tuple(certificate.der() for certificate in certificates().values())


def changed_path(at: str, **changes: Any) -> tuple[bytes, ...]:
    """The good path with one certificate made otherwise (its issuer signs it all the same)."""
    path = certificates() | {at: replace(certificates()[at], **changes)}
    good = dict(zip(certificates(), path_der(), strict=True))
    return tuple(path[place].der() if place == at else good[place] for place in path)


def root() -> bytes:
    return path_der()[0]


def fields(path: Sequence[bytes] = (), **changes: Any) -> dict[str, Any]:
    """The content of a document; a change to `...` leaves a field out."""
    path = path or path_der()
    content = {
        "module_id": MODULE_ID,
        "digest": "SHA384",
        "timestamp": int(NOW.timestamp() * 1000),
        "pcrs": PCRS,
        "certificate": path[-1],
        "cabundle": list(path[:-1]),
        "public_key": None,
        "user_data": None,
        "nonce": NONCE,
    } | changes
    return {name: value for name, value in content.items() if value is not ...}


def signed(payload: bytes, signer: str = "leaf") -> bytes:
    return cose.sign(key(signer), payload).encode()


def document(path: Sequence[bytes] = (), **changes: Any) -> bytes:
    return signed(cbor2.dumps(fields(path, **changes)))


def pem(public_key: rsa.RSAPublicKey) -> bytes:
    return public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def spki(public_key: rsa.RSAPublicKey) -> bytes:
    return public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@functools.cache
def gateway_key(key_id: int) -> GatewayKey:
    return GatewayKey.generate(key_id)


def evidence(path: Sequence[bytes] = (), **changes: Any) -> Evidence:
    """Good evidence of two key configurations; `changes` are to the document."""
    configs = [gateway_key(2).config, gateway_key(1).config]
    ohttp_keys, signing_key = encode_key_configs(configs), rsa_key("signing").public_key()
    bound = {
        "user_data": encode_user_data(ohttp_keys, spki(signing_key)),
        "public_key": configs[0].encode(),
    }
    made = document(path, **(bound | changes))
    return Evidence(made, ohttp_keys, pem(signing_key), Platform.AWS_NITRO)


@dataclass(frozen=True)
class RealDocument:
    """One document that AWS's module really signed (or, in one case, that was altered)."""

    name: str
    data: bytes
    valid: bool
    debug_mode: bool
    recorded: Mapping[str, Any]

    @property
    def time(self) -> float:
        return float(self.recorded["timestamp_ms"]) / 1000


@functools.cache
def real_documents() -> tuple[RealDocument, ...]:
    return tuple(
        RealDocument(
            entry["id"],
            base64.b64decode(entry["base64"]),
            entry["valid"],
            entry["debug_mode"],
            entry,
        )
        for entry in json.loads(VECTORS.read_text())["documents"]
    )


def outcome(error: AttestationError) -> tuple[AttestationStep, AttestationReason]:
    return error.step, error.reason

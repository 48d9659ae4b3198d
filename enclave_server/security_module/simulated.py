"""A simulated security module: the same documents, under a throw-away root, proving nothing.

Everything that it signs says so: module_id and every certificate's name begin with `simulated-`.
"""

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from enclave_server.security_module.nsm import Description, check_sizes
from protocol import cose
from protocol.evidence import SIMULATED_PREFIX, Platform

PCR_COUNT = 16
MEASURED_PCRS = range(5)
"""Image, kernel, application, role and instance; a real module's others are zero too."""

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(hours=3)
LEAF_RENEWAL = LEAF_LIFETIME / 2
"""A leaf this old is replaced, so that a document is never about to expire when it is made."""

BACKDATED = timedelta(minutes=1)
"""Certificates begin a little before they are made, as clocks differ a little."""

DIGEST = "SHA384"


def simulated_pcrs() -> dict[int, bytes]:
    """Return the registers of every simulated module: hashes of labels, and zeros."""
    labels = {index: f"simulated PCR{index}".encode() for index in MEASURED_PCRS}
    measured = {index: hashlib.sha384(label).digest() for index, label in labels.items()}
    return {index: measured.get(index, bytes(48)) for index in range(PCR_COUNT)}


@dataclass(frozen=True, slots=True)
class Authority:
    """A key and its certificate: a root, an intermediate authority, or a leaf."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        """The certificate's bytes."""
        return self.certificate.public_bytes(Encoding.DER)


def new_root(moment: datetime) -> Authority:
    """Return a throw-away root of a simulated module's random name."""
    return issue_root(f"{SIMULATED_PREFIX}{os.urandom(8).hex()}", moment)


def issue_root(name: str, moment: datetime, path_length: int = 1) -> Authority:
    """Return a self-signed authority with `path_length` authorities allowed below it."""
    key = ec.generate_private_key(ec.SECP384R1())
    builder = _builder(name, name, key, moment, AUTHORITY_LIFETIME)
    return Authority(key, _authority(builder, path_length).sign(key, SHA384()))


def issue_authority(issuer: Authority, name: str, moment: datetime, path_length: int) -> Authority:
    """Return an intermediate authority."""
    key = ec.generate_private_key(ec.SECP384R1())
    builder = _builder(name, name_of(issuer), key, moment, AUTHORITY_LIFETIME)
    return Authority(key, _authority(builder, path_length).sign(issuer.key, SHA384()))


def issue_leaf(issuer: Authority, name: str, moment: datetime) -> Authority:
    """Return a key that signs documents for three hours."""
    key = ec.generate_private_key(ec.SECP384R1())
    builder = _builder(name, name_of(issuer), key, moment, LEAF_LIFETIME)
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_key_usage("digital_signature"), critical=False)
    return Authority(key, builder.sign(issuer.key, SHA384()))


class SimulatedSecurityModule:
    """Makes documents of the same form as a real module; `now` returns Unix seconds."""

    platform = Platform.SIMULATED

    def __init__(
        self,
        *,
        now: Callable[[], float] = time.time,
        root: Authority | None = None,
        pcrs: Mapping[int, bytes] | None = None,
    ) -> None:
        """Several modules can stand under one `root`; `pcrs` are set beside the usual ones."""
        self._now = now
        self._pcrs = {**simulated_pcrs(), **(pcrs or {})}
        self._root = root or new_root(self._moment())
        self.module_id = name_of(self._root)
        name = f"{self.module_id}.zone"
        self._zone = issue_authority(self._root, name, self._moment(), path_length=0)
        self._leaf = self._new_leaf()

    def describe_pcr(self, index: int) -> bytes:
        """Return the 48 bytes of one register."""
        return self._pcrs[index]

    @property
    def root(self) -> x509.Certificate:
        """The certificate that every document's path begins with."""
        return self._root.certificate

    def attest(
        self, user_data: bytes | None, public_key: bytes | None, nonce: bytes | None
    ) -> bytes:
        """Return a signed document (COSE_Sign1) that holds these three."""
        fields = check_sizes(user_data, public_key, nonce)
        moment = self._moment()
        if not timedelta() <= moment - self._leaf_start() <= LEAF_RENEWAL:
            self._leaf = self._new_leaf()
        document = {
            "module_id": self.module_id,
            "digest": DIGEST,
            "timestamp": int(moment.timestamp() * 1000),
            "pcrs": self._pcrs,
            "certificate": self._leaf.der,
            "cabundle": [self._root.der, self._zone.der],
            **fields,
        }
        return cose.sign(self._leaf.key, cbor2.dumps(document)).encode()

    def random(self, count: int) -> bytes:
        """Return `count` random bytes of the kernel's: there is no other source here."""
        return os.urandom(count)

    def describe(self) -> Description:
        """Return what a real module would say, with this one's name."""
        return Description((1, 0, 0), self.module_id, 32, frozenset(range(PCR_COUNT)), DIGEST)

    def _moment(self) -> datetime:
        return datetime.fromtimestamp(self._now(), UTC)

    def _leaf_start(self) -> datetime:
        return self._leaf.certificate.not_valid_before_utc

    def _new_leaf(self) -> Authority:
        return issue_leaf(self._zone, f"{self.module_id}.leaf", self._moment())


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, moment: datetime, life: timedelta
) -> x509.CertificateBuilder:
    start = moment - BACKDATED
    return x509.CertificateBuilder(
        issuer_name=_name(issuer),
        subject_name=_name(name),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=start,
        not_valid_after=start + life,
    )


def _authority(builder: x509.CertificateBuilder, path_length: int) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(True, path_length), critical=True)
    return builder.add_extension(_key_usage("key_cert_sign"), critical=True)


def _key_usage(purpose: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=purpose == "digital_signature",
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=purpose == "key_cert_sign",
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


def name_of(authority: Authority) -> str:
    """Return the common name of an authority."""
    attributes = authority.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(attributes[0].value)

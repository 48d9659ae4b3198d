"""Evidence: an attestation document together with the keys that it binds.

The document's `user_data` is deterministic CBOR (RFC 8949, Section 4.2.1) of
`{"ohttp_keys": SHA-256 of the application/ohttp-keys bytes, "signing_key": SHA-256 of the DER
SubjectPublicKeyInfo of the RSA key, "signing_key_ed25519": that of the Ed25519 key, "tokens":
SHA-256 of the token catalogue, each where there is one}`; other members may follow. Its
`public_key` is the newest key configuration for which a document has room.
"""

import base64
import enum
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import cbor2
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from protocol import cbor, strict_json
from protocol.attestation import (
    OPTIONAL_BYTES,
    Attestation,
    decode_attestation,
    verify_attestation,
)
from protocol.certificates import AWS_ROOT_G1, load_certificate, load_root
from protocol.encapsulation import preferred_config
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    MalformedMessage,
)
from protocol.key_config import KeyConfig, decode_key_configs
from protocol.signature import PublicKey, encode_spki
from protocol.token_catalogue import Catalogue, catalogue_hash

MAX_EVIDENCE_BYTES = 65536
"""A document has at most 16 KiB; the rest is keys, and base64."""

ED25519_MEMBER = "signing_key_ed25519"
"""Of the JSON and of `user_data`; in both or in neither."""

CATALOGUE_MEMBER = "token_catalogue"
TOKENS_MEMBER = "tokens"
"""Of the JSON, and of `user_data`; both or neither."""

RSA_BITS = range(2048, 4097)
SIMULATED_PREFIX = "simulated-"
"""Begins the module_id of every simulated document and the common name of its root."""


class Platform(enum.StrEnum):
    """What the server says it runs on."""

    AWS_NITRO = "aws-nitro"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What `GET /v1/attestation` serves; nothing in it is proven before `verify_evidence`."""

    document: bytes
    ohttp_keys: bytes
    signing_key_pem: bytes
    platform: Platform
    ed25519_pem: bytes | None = None
    token_catalogue: bytes | None = None

    def encode(self) -> bytes:
        """Return the JSON that is served."""
        members = {
            "attestation": base64.b64encode(self.document).decode(),
            "ohttp_keys": base64.b64encode(self.ohttp_keys).decode(),
            "signing_key": self.signing_key_pem.decode("ascii"),
            "platform": self.platform.value,
        }
        if self.ed25519_pem is not None:  # earlier clients pass it over
            members[ED25519_MEMBER] = self.ed25519_pem.decode("ascii")
        if self.token_catalogue is not None:
            members[CATALOGUE_MEMBER] = base64.b64encode(self.token_catalogue).decode()
        return json.dumps(members, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Evidence":
        """Read what was served, members of later versions passed over, or raise ProtocolError."""
        if len(data) > MAX_EVIDENCE_BYTES:
            raise MalformedMessage("the evidence is too large")
        members = strict_json.decode_object(data)
        return cls(
            strict_json.decode_base64(members.get("attestation")),
            strict_json.decode_base64(members.get("ohttp_keys")),
            strict_json.decode_ascii(members.get("signing_key")),
            _platform(members.get("platform")),
            _optional_pem(members),
            _optional_catalogue(members),
        )


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """Evidence whose keys may be used: they are held by the code that the PCRs measure."""

    attestation: Attestation
    key_configs: tuple[KeyConfig, ...]
    signing_key: RSAPublicKey
    evidence: Evidence
    ed25519_key: Ed25519PublicKey | None = None
    catalogue: Catalogue | None = None
    """Of the keys whose tokens are taken; None where nobody pays."""

    @property
    def sealing_config(self) -> KeyConfig:
        """The key configuration that clients seal to."""
        return preferred_config(self.key_configs)

    @property
    def signing_keys(self) -> tuple[PublicKey, ...]:
        """The keys that sign answers."""
        return (self.signing_key, *([] if self.ed25519_key is None else [self.ed25519_key]))


def encode_user_data(
    ohttp_keys: bytes,
    signing_key_spki: bytes,
    ed25519_spki: bytes | None = None,
    token_catalogue: bytes | None = None,
) -> bytes:
    """Return the `user_data` that binds these exact octets: of keys, and of the catalogue."""
    hashes = {
        "ohttp_keys": hashlib.sha256(ohttp_keys).digest(),
        "signing_key": hashlib.sha256(signing_key_spki).digest(),
    }
    if ed25519_spki is not None:
        hashes[ED25519_MEMBER] = hashlib.sha256(ed25519_spki).digest()
    if token_catalogue is not None:
        hashes[TOKENS_MEMBER] = catalogue_hash(token_catalogue)
    return cbor2.dumps(hashes, canonical=True)


def attested_config(configs: Iterable[KeyConfig]) -> KeyConfig | None:
    """Return the configuration that stands in a document: the newest for which it has room.

    The list is bound as a whole by its hash; keys of some mechanisms are longer than a document's
    `public_key`.
    """
    room = OPTIONAL_BYTES["public_key"]
    return next((config for config in configs if len(config.encode()) <= room), None)


def verify_evidence(
    evidence: Evidence,
    *,
    now: datetime | float,
    root: bytes | x509.Certificate = AWS_ROOT_G1,
    pcrs: Mapping[int, bytes | str] | None = None,
    nonce: bytes | None = None,
    max_age: float | None = None,
    allow_debug: bool = False,
) -> VerifiedEvidence:
    """Return the proven keys, or raise AttestationError; arguments as for `verify_attestation`.

    A simulated platform is refused unless `root` is a simulated root, see `simulated_root`.
    """
    anchor = load_root(root)
    # Step 0: what the server says it is, and the root that the caller trusts, belong together.
    _verify_label(evidence.platform, anchor)
    # Steps 1 to 4: the document.
    attestation = verify_attestation(
        evidence.document,
        now=now,
        root=anchor,
        pcrs=pcrs,
        nonce=nonce,
        max_age=max_age,
        allow_debug=allow_debug,
    )
    _verify_module(evidence.platform, attestation)
    # Step 5: the keys beside the document are those that it binds.
    configs, signing_key, ed25519_key = _read_keys(evidence)
    verified = VerifiedEvidence(attestation, configs, signing_key, evidence, ed25519_key)
    _verify_binding(verified)
    return replace(verified, catalogue=_read_catalogue(evidence.token_catalogue))


def simulated_root(document: bytes) -> x509.Certificate:
    """Return the throw-away root inside a simulated document, for callers who accept any.

    It proves nothing about who signed. AttestationError if the document does not say `simulated`
    in its module_id, or its root is not that module's own.
    """
    attestation = decode_attestation(document)
    root = load_certificate(attestation.cabundle[0])
    if not _is_simulated(attestation) or _common_name(root) != attestation.module_id:
        raise _platform_error("the document is not a simulated one")
    return root


def _verify_label(platform: Platform, root: x509.Certificate) -> None:
    # Whoever accepts a simulated root for trials must not meet it under the name of a real
    # platform, and a trusted root must not lend its name to a simulation.
    is_simulated_root = _common_name(root).startswith(SIMULATED_PREFIX)
    if platform is Platform.SIMULATED and not is_simulated_root:
        raise _platform_error("the platform is simulated: nothing is proven about what runs there")
    if platform is not Platform.SIMULATED and is_simulated_root:
        raise _platform_error(f"a simulated root cannot vouch for {platform.value}")


def _verify_module(platform: Platform, attestation: Attestation) -> None:
    if (platform is Platform.SIMULATED) != _is_simulated(attestation):
        raise _platform_error(f"{attestation.module_id} is not a module of {platform.value}")


def _is_simulated(attestation: Attestation) -> bool:
    return attestation.module_id.startswith(SIMULATED_PREFIX)


def _common_name(certificate: x509.Certificate) -> str:
    try:
        names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        raise _platform_error("the root's name cannot be read") from None
    return str(names[0].value) if len(names) == 1 else ""


def _read_keys(
    evidence: Evidence,
) -> tuple[tuple[KeyConfig, ...], RSAPublicKey, Ed25519PublicKey | None]:
    pem = evidence.ed25519_pem
    try:
        configs = tuple(decode_key_configs(evidence.ohttp_keys))
        signing_key = load_signing_key(evidence.signing_key_pem)
        return configs, signing_key, None if pem is None else load_ed25519_key(pem)
    except MalformedMessage as error:
        raise _binding_error(AttestationReason.MALFORMED, str(error)) from None


def load_signing_key(pem: bytes) -> RSAPublicKey:
    """Return the RSA key that signs answers, or raise MalformedMessage."""
    key = _load_pem(pem)
    if not isinstance(key, RSAPublicKey) or key.key_size not in RSA_BITS:
        raise MalformedMessage("the signing key is not an RSA key of 2048 to 4096 bits")
    return key


def load_ed25519_key(pem: bytes) -> Ed25519PublicKey:
    """Return the Ed25519 key that signs answers, or raise MalformedMessage."""
    key = _load_pem(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedMessage("the second signing key is not an Ed25519 key")
    return key


def _load_pem(pem: bytes) -> object:
    try:
        return load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedMessage("the signing key cannot be read") from None


def _verify_binding(verified: VerifiedEvidence) -> None:
    evidence, attestation = verified.evidence, verified.attestation
    bound = _bound_hashes(attestation.user_data)
    if bound.get("ohttp_keys") != hashlib.sha256(evidence.ohttp_keys).digest():
        raise _unbound("the document does not bind these key configurations")
    if bound.get("signing_key") != _spki_hash(verified.signing_key):
        raise _unbound("the document does not bind this signing key")
    # Nobody on the way can take the one that is bound away, nor add one that is not.
    if bound.get(ED25519_MEMBER) != _spki_hash(verified.ed25519_key):
        raise _unbound("the document does not bind this Ed25519 key")
    # Nor can another catalogue be told than all clients are told, with keys for this one alone.
    catalogue = evidence.token_catalogue
    if bound.get(TOKENS_MEMBER) != (None if catalogue is None else catalogue_hash(catalogue)):
        raise _catalogue_error("the document does not bind this token catalogue")
    held = attested_config(verified.key_configs)
    if held is None or attestation.public_key != held.encode():
        raise _unbound("the document is not for the newest key configuration")


def _spki_hash(key: PublicKey | None) -> bytes | None:
    return None if key is None else hashlib.sha256(encode_spki(key)).digest()


def _bound_hashes(user_data: bytes | None) -> Mapping[int | str, cbor.Value]:
    try:
        bound = cbor.decode(user_data or b"")
    except MalformedMessage:
        bound = None
    if not isinstance(bound, dict):
        raise _unbound("the document's user_data binds no keys")
    return bound


def _optional_pem(members: Mapping[str, object]) -> bytes | None:
    if ED25519_MEMBER not in members:
        return None
    return strict_json.decode_ascii(members[ED25519_MEMBER])


def _optional_catalogue(members: Mapping[str, object]) -> bytes | None:
    if CATALOGUE_MEMBER not in members:
        return None
    return strict_json.decode_base64(members[CATALOGUE_MEMBER])


def _read_catalogue(data: bytes | None) -> Catalogue | None:
    """Return the catalogue that is bound; it must not be one that tells buyers apart."""
    try:
        return None if data is None else Catalogue.decode(data)
    except MalformedMessage as error:
        raise _catalogue_error(str(error)) from None


def _platform(value: object) -> Platform:
    try:
        return Platform(strict_json.decode_ascii(value).decode())
    except ValueError:
        raise MalformedMessage("an unknown platform") from None


def _unbound(detail: str) -> AttestationError:
    return _binding_error(AttestationReason.UNBOUND_KEYS, detail)


def _catalogue_error(detail: str) -> AttestationError:
    return _binding_error(AttestationReason.CATALOGUE, detail)


def _binding_error(reason: AttestationReason, detail: str) -> AttestationError:
    return AttestationError(AttestationStep.BINDING, reason, detail)


def _platform_error(detail: str) -> AttestationError:
    return AttestationError(AttestationStep.PLATFORM, AttestationReason.SIMULATED, detail)

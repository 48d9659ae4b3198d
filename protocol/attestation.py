"""AWS Nitro attestation documents, verified in numbered steps.

After AWS's "Nitro Enclaves Attestation Process" and "Verifying the root of trust"; where these two
give different limits, the smaller one holds. The steps are those of `AttestationStep`.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from protocol import cbor
from protocol.certificates import (
    AWS_ROOT_G1,
    load_certificate,
    load_root,
    public_key,
    verify_path,
)
from protocol.cose import CoseSign1
from protocol.errors import (
    AttestationError,
    AttestationReason,
    AttestationStep,
    MalformedMessage,
)

__all__ = [
    "AWS_ROOT_G1",
    "Attestation",
    "AttestationError",
    "AttestationReason",
    "AttestationStep",
    "decode_attestation",
    "parse_pcrs",
    "verify_attestation",
]

Pins = Mapping[int, bytes | str]

DIGEST = "SHA384"
PCR_BYTES = 48
MAX_PCRS = 32
MAX_CERTIFICATE_BYTES = 1024
OPTIONAL_BYTES = {"public_key": 1024, "user_data": 1024, "nonce": 1024}
"""Whatever AWS's texts say of 512, its module makes documents with more."""
REQUIRED = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}

DEBUG_PCRS = (0, 1, 2)
"""An enclave that was started in debug mode reports these as zero."""

CLOCK_SKEW_SECONDS = 300
"""How far ahead of the verifier's clock a document may be dated, where its age matters."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """What a document says; `timestamp` is in Unix milliseconds, certificates are DER."""

    module_id: str
    timestamp: int
    digest: str
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


def verify_attestation(
    document: bytes,
    *,
    now: datetime | float,
    root: bytes | x509.Certificate = AWS_ROOT_G1,
    pcrs: Pins | None = None,
    nonce: bytes | None = None,
    max_age: float | None = None,
    allow_debug: bool = False,
) -> Attestation:
    """Return what a document says once all of it is proven, or raise AttestationError.

    `now` is an aware datetime or Unix seconds; `root` is DER, PEM or a certificate object; `pcrs`
    maps indexes to the values (bytes or hexadecimal) that they must have; `max_age` is in seconds.
    """
    moment, anchor = _utc(now), load_root(root)
    pins = None if pcrs is None else _normalised(pcrs)
    # Step 1: a COSE_Sign1 message with ES384, signed by the certificate that it carries.
    signed, attestation = _open(document)
    _verify_signature(signed, attestation)
    # Step 2: that certificate comes from the pinned root, at this time.
    verify_path((*attestation.cabundle, attestation.certificate), anchor, moment)
    # Step 3: the code that runs is the code that was expected.
    if not allow_debug:
        _refuse_debug_mode(attestation)
    _verify_pcrs(attestation, pins or {})
    # Step 4: it was made for this caller, or not long ago.
    _verify_nonce(attestation, nonce)
    _verify_age(attestation, moment.timestamp(), max_age)
    return attestation


def decode_attestation(document: bytes) -> Attestation:
    """Return what a document claims, NOTHING of it verified, or raise AttestationError."""
    return _open(document)[1]


def parse_pcrs(measurements: Mapping[str, object]) -> dict[int, bytes]:
    """Return pins from the JSON that `nitro-cli build-enclave` prints, or from its inner object.

    Names other than PCR0 to PCR31 are passed over; ValueError for a wrong value, or for none.
    """
    inner = measurements.get("Measurements", measurements)
    if not isinstance(inner, Mapping):
        raise ValueError("Measurements is not an object")
    pins: dict[int, bytes | str] = {}
    for name, value in inner.items():
        if isinstance(name, str) and re.fullmatch(r"PCR(0|[1-9][0-9]?)", name):
            if not isinstance(value, str):
                raise ValueError(f"{name} is not a hexadecimal string")
            pins[int(name[3:])] = value
    return _normalised(pins)


def _utc(now: datetime | float) -> datetime:
    if isinstance(now, datetime):
        if now.utcoffset() is None:
            raise ValueError("a time without a time zone")
        return now.astimezone(UTC)
    if not math.isfinite(now):
        raise ValueError("not a time")
    return datetime.fromtimestamp(now, UTC)


def _normalised(pcrs: Pins) -> dict[int, bytes]:
    """Return pins as bytes; ValueError for pins that no document could be compared with."""
    pins = {
        index: bytes.fromhex(value) if isinstance(value, str) else bytes(value)
        for index, value in pcrs.items()
    }
    if not pins:
        raise ValueError("no PCRs: an empty set of pins would accept any enclave")
    for index, value in pins.items():
        if not 0 <= index < MAX_PCRS or len(value) != PCR_BYTES:
            raise ValueError(f"PCR{index} is not {PCR_BYTES} bytes of a register below {MAX_PCRS}")
    return pins


def _open(document: bytes) -> tuple[CoseSign1, Attestation]:
    try:
        signed = CoseSign1.decode(document)
        return signed, _attestation(cbor.decode(signed.payload))
    except MalformedMessage as error:
        raise AttestationError(
            AttestationStep.COSE_SIGN1, AttestationReason.MALFORMED, str(error)
        ) from None


def _attestation(fields: cbor.Value) -> Attestation:
    if not isinstance(fields, dict):
        raise MalformedMessage("the document is not a map")
    if not REQUIRED <= fields.keys() <= REQUIRED | OPTIONAL_BYTES.keys():
        raise MalformedMessage("the document lacks a field, or has one that is unknown")
    if fields["digest"] != DIGEST:
        raise MalformedMessage("the digest is not SHA384")
    return Attestation(
        _module_id(fields["module_id"]),
        _timestamp(fields["timestamp"]),
        DIGEST,
        _pcrs(fields["pcrs"]),
        _sized(fields["certificate"], 1, MAX_CERTIFICATE_BYTES),
        _cabundle(fields["cabundle"]),
        *(_optional(fields.get(name), limit) for name, limit in OPTIONAL_BYTES.items()),
    )


def _module_id(value: cbor.Value) -> str:
    # It is shown to people, and a root that is no longer secret might write what it likes here.
    if not isinstance(value, str) or not value or not value.isprintable():
        raise MalformedMessage("module_id is not printable text")
    return value


def _timestamp(value: cbor.Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise MalformedMessage("timestamp is not a positive integer")
    return value


def _pcrs(value: cbor.Value) -> Mapping[int, bytes]:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_PCRS:
        raise MalformedMessage("pcrs is not a map of 1 to 32 entries")
    registers: dict[int, bytes] = {}
    for index, content in value.items():
        if not isinstance(index, int) or not 0 <= index < MAX_PCRS:
            raise MalformedMessage("a PCR's index is not below 32")
        # AWS's text allows 32, 48 and 64 bytes, one for each digest; this is SHA-384's.
        registers[index] = _sized(content, PCR_BYTES, PCR_BYTES)
    return MappingProxyType(registers)


def _cabundle(value: cbor.Value) -> tuple[bytes, ...]:
    if not isinstance(value, list) or not value:
        raise MalformedMessage("cabundle is not a list of certificates")
    return tuple(_sized(entry, 1, MAX_CERTIFICATE_BYTES) for entry in value)


def _optional(value: cbor.Value, limit: int) -> bytes | None:
    # One of AWS's texts forbids null and an empty public key; real documents have both.
    return None if value is None else _sized(value, 0, limit)


def _sized(value: cbor.Value, smallest: int, largest: int) -> bytes:
    if not isinstance(value, bytes) or not smallest <= len(value) <= largest:
        raise MalformedMessage(f"a field is not a byte string of {smallest} to {largest} bytes")
    return value


def _verify_signature(signed: CoseSign1, attestation: Attestation) -> None:
    try:
        signed.verify(public_key(load_certificate(attestation.certificate)))
    except AttestationError as error:
        raise AttestationError(
            AttestationStep.COSE_SIGN1, AttestationReason.MALFORMED, str(error)
        ) from None
    except InvalidSignature:
        raise AttestationError(
            AttestationStep.COSE_SIGN1,
            AttestationReason.SIGNATURE,
            "the document's signature does not verify",
        ) from None


def _refuse_debug_mode(attestation: Attestation) -> None:
    if not any(any(attestation.pcrs.get(index, b"")) for index in DEBUG_PCRS):
        raise AttestationError(
            AttestationStep.MEASUREMENTS,
            AttestationReason.DEBUG_MODE,
            "PCR0, PCR1 and PCR2 are zero: the enclave runs in debug mode and hides nothing",
        )


def _verify_pcrs(attestation: Attestation, pins: Mapping[int, bytes]) -> None:
    for index, expected in sorted(pins.items()):
        found = attestation.pcrs.get(index)
        if found != expected:
            value = "absent" if found is None else found.hex()
            raise AttestationError(
                AttestationStep.MEASUREMENTS,
                AttestationReason.PCR_MISMATCH,
                f"PCR{index} is {value}, expected was {expected.hex()}",
            )


def _verify_nonce(attestation: Attestation, nonce: bytes | None) -> None:
    if nonce is not None and attestation.nonce != nonce:
        raise AttestationError(
            AttestationStep.FRESHNESS,
            AttestationReason.NONCE_MISMATCH,
            "the document was not made for this nonce",
        )


def _verify_age(attestation: Attestation, now: float, max_age: float | None) -> None:
    if max_age is None:
        return
    age = now - attestation.timestamp / 1000
    if not -CLOCK_SKEW_SECONDS <= age <= max_age:
        raise AttestationError(
            AttestationStep.FRESHNESS,
            AttestationReason.STALE,
            f"the document is {age:.0f} seconds old, not at most {max_age:.0f}",
        )

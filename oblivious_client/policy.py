"""What a client demands of evidence before it uses the keys in it."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from oblivious_client.defaults import MAX_AGE_SECONDS as MAX_AGE_SECONDS
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from protocol import strict_json
from protocol.attestation import AWS_ROOT_G1, parse_pcrs
from protocol.errors import AttestationError, AttestationReason, AttestationStep, ProtocolError
from protocol.evidence import (
    Evidence,
    Platform,
    VerifiedEvidence,
    simulated_root,
    verify_evidence,
)

# Registers that tell which code runs: the image, the kernel with its first ramdisk, the rest. PCR0
# alone leaves open where one part ends and the next begins, and so does PCR8, whose signature is
# over PCR0. Others tell whose machine it runs on, and any program runs there.
CODE_PINS = (0, 1, 2)

_STALE_ADVICE = (
    "check this machine's clock; then the relay may be serving old evidence: try another"
)
_WRONG_PLACE = "nothing was sent; do not use this relay and gateway, and tell who runs the service"

_REFUSALS: dict[AttestationReason, tuple[Exit, str, str]] = {
    AttestationReason.MALFORMED: (
        Exit.EVIDENCE_MALFORMED,
        "what was served is not an attestation document",
        "check the address; nothing was sent",
    ),
    AttestationReason.SIGNATURE: (
        Exit.CHAIN,
        "the document's signature does not verify",
        _WRONG_PLACE,
    ),
    AttestationReason.CHAIN: (
        Exit.CHAIN,
        "the document's certificates do not lead to the pinned AWS root",
        _WRONG_PLACE,
    ),
    AttestationReason.EXPIRED: (
        Exit.STALE,
        "the document's certificates are not valid at this time",
        _STALE_ADVICE,
    ),
    AttestationReason.PCR_MISMATCH: (
        Exit.PCRS,
        "the enclave does not run the code that the pinned measurements name",
        "nothing was sent; if the service has a new release, build it and pin its measurements "
        "(`oblivious-client verify` without --pcrs shows what runs)",
    ),
    AttestationReason.DEBUG_MODE: (
        Exit.DEBUG_MODE,
        "the enclave runs in debug mode: its operator can read everything in it",
        _WRONG_PLACE,
    ),
    AttestationReason.NONCE_MISMATCH: (
        Exit.STALE,
        "the document was not made for this request",
        "somebody serves a document made earlier; nothing was sent",
    ),
    AttestationReason.STALE: (Exit.STALE, "the document is too old", _STALE_ADVICE),
    AttestationReason.UNBOUND_KEYS: (
        Exit.KEYS_UNBOUND,
        "the keys that were served are not the keys in the document: somebody swapped them",
        _WRONG_PLACE,
    ),
    AttestationReason.CATALOGUE: (
        Exit.CATALOGUE,
        "the token catalogue is not the attested one, or one that no client may use",
        _WRONG_PLACE,
    ),
    AttestationReason.SIMULATED: (
        Exit.SIMULATED,
        "the document is simulated: no hardware vouches for it",
        "for trials only: --allow-simulated",
    ),
}


class Simulated(enum.Enum):
    """Whether a document passes that proves nothing, for trials."""

    REFUSED = "refused"
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class Policy:
    """Pinned measurements, the oldest document in seconds, and what to do with simulated ones.

    `also` holds the measurements of further releases that will do, while one replaces another.
    `root` is AWS's, unless an emulated enclave is to be tried out.
    """

    pcrs: Mapping[int, bytes] | None = None
    simulated: Simulated = Simulated.REFUSED
    max_age: float = MAX_AGE_SECONDS
    root: x509.Certificate | None = None
    also: tuple[Mapping[int, bytes], ...] = ()

    @property
    def releases(self) -> tuple[Mapping[int, bytes], ...]:
        """The measurements of which one set has to match whole; none where nothing is pinned."""
        return (self.pcrs, *self.also) if self.pcrs else ()

    def pins_of(self, verified: VerifiedEvidence) -> Mapping[int, bytes]:
        """Return the set that matched; an empty one where nothing is pinned.

        A register of zeros tells nothing, as nothing was measured into it: it is no pin.
        """
        found = verified.attestation.pcrs
        for pins in self.releases:
            if all(found.get(index) == value for index, value in pins.items()):
                return {index: value for index, value in pins.items() if any(value)}
        return {}

    def verify(
        self, evidence: Evidence, *, now: float, nonce: bytes | None = None
    ) -> VerifiedEvidence:
        """Return verified evidence; raises EvidenceRefused with the reason.

        A genuine document without pinned measurements is refused: whoever can rent an enclave
        can have one, with any program in it.
        """
        verified = self.inspect(evidence, now=now, nonce=nonce)
        self.require_pins(verified)
        return verified

    def require_pins(self, verified: VerifiedEvidence) -> None:
        """Raise EvidenceRefused for a genuine document whose code was compared with nothing."""
        if verified.evidence.platform is Platform.SIMULATED:
            return
        pins = self.pins_of(verified)
        missing = [f"PCR{index}" for index in CODE_PINS if index not in pins]
        if missing:
            raise EvidenceRefused(
                f"the document is genuine, but {', '.join(missing)} of its code is not pinned"
                if len(missing) < len(CODE_PINS)
                else "the document is genuine, but no measurements of the code are pinned",
                advice="pin PCR0, PCR1 and PCR2 with --pcrs FILE, as `nitro-cli build-enclave` "
                "prints them",
                code=Exit.UNPINNED,
            )

    def inspect(
        self, evidence: Evidence, *, now: float, nonce: bytes | None = None
    ) -> VerifiedEvidence:
        """Like `verify`, but let unpinned measurements pass, so that they can be shown."""
        try:
            return self._verify_any(evidence, now, nonce)
        except AttestationError as error:
            raise self._refusal(error) from error
        except ProtocolError as error:
            raise _malformed() from error

    def expiry(self, verified: VerifiedEvidence) -> float:
        """Return the Unix second at which the document is too old."""
        return verified.attestation.timestamp / 1000 + self.max_age

    def fingerprint(self) -> str:
        """Return a digest of the policy, so that a laxer one never lends out its evidence."""
        pcrs = [
            {str(index): value.hex() for index, value in pins.items()} for pins in self.releases
        ]
        root = self.root.fingerprint(hashes.SHA256()).hex() if self.root is not None else ""
        text = json.dumps([pcrs, self.simulated.value, self.max_age, root], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def _verify_any(self, evidence: Evidence, now: float, nonce: bytes | None) -> VerifiedEvidence:
        verify = partial(
            verify_evidence,
            evidence,
            now=now,
            root=self._root(evidence),
            nonce=nonce,
            max_age=self.max_age,
        )
        mismatches: list[str] = []
        for pins in self.releases or (None,):
            try:
                return verify(pcrs=pins)
            except AttestationError as error:
                if error.reason is not AttestationReason.PCR_MISMATCH:
                    raise
                mismatches.append(str(error))
        raise AttestationError(
            AttestationStep.MEASUREMENTS, AttestationReason.PCR_MISMATCH, "; ".join(mismatches)
        )

    def _refusal(self, error: AttestationError) -> EvidenceRefused:
        reason = error.reason
        if reason is AttestationReason.SIMULATED and self.simulated is Simulated.ALLOWED:
            reason = AttestationReason.CHAIN  # it is not what its label says
        code, message, advice = _REFUSALS[reason]
        if reason is AttestationReason.PCR_MISMATCH:
            message = f"{message}: {error}"
        return EvidenceRefused(message, advice=advice, code=code)

    def _root(self, evidence: Evidence) -> bytes | x509.Certificate:
        if evidence.platform is not Platform.SIMULATED or self.simulated is Simulated.REFUSED:
            return self.root or AWS_ROOT_G1
        return simulated_root(evidence.document)


def decode(data: bytes) -> Evidence:
    """Return the evidence in `data`; raises EvidenceRefused for anything else."""
    try:
        return Evidence.decode(data)
    except ProtocolError as error:
        raise _malformed() from error


def read_releases(path: Path) -> tuple[dict[int, bytes], ...]:
    """Return the measurements in a file as `nitro-cli build-enclave` prints them.

    The file holds those of one release, or a list of such objects: of all that will do.
    """
    advice = "save what `nitro-cli build-enclave` printed for the release you trust"
    try:
        found = strict_json.decode(path.read_text(encoding="utf-8"))
        releases = found if isinstance(found, list) else [found]
        if not releases or not all(isinstance(each, dict) for each in releases):
            raise ValueError("not an object, nor a list of objects")
        return tuple(parse_pcrs(each) for each in releases)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=advice) from error
    except (ProtocolError, ValueError) as error:
        raise UsageError(f"{path} holds no measurements: {error}", advice=advice) from error


def read_root(path: Path) -> x509.Certificate:
    """Return the certificate in a PEM file."""
    advice = "name a PEM file with one certificate"
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}", advice=advice) from error
    except ValueError as error:
        raise UsageError(f"{path} holds no certificate", advice=advice) from error


def _malformed() -> EvidenceRefused:
    code, message, advice = _REFUSALS[AttestationReason.MALFORMED]
    return EvidenceRefused(message, advice=advice, code=code)

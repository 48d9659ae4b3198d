"""What is tried with the image as a file: two builds, AWS's reader, the kernel from its source."""

from __future__ import annotations

import hashlib
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from scripts.emulation import nitro_cli
from scripts.emulation.report import Report, TrialFailure
from scripts.image import bundle, eif, kernel, reader
from scripts.image import recipe as image
from scripts.image.checkout import REPOSITORY
from scripts.image.eif import Kind, Section
from scripts.image.locks import read_lock
from scripts.image.pool import Pool, Sources, default_sources

CONFIGURATION = REPOSITORY / "scripts/deploy/enclave.toml"
RECIPE = image.Recipe(CONFIGURATION, weights=True)
Describe = Callable[[Path], dict[str, Any]]
DAY = timedelta(days=1)


def build_image(recipe: image.Recipe, work: Path, out: Path, say: Report) -> list[Section]:
    """Build an image at `out`; return its sections."""
    sections = image.build(recipe, work, say)
    out.write_bytes(eif.encode(sections))
    say(f"image of {out.stat().st_size} bytes, PCR0 {eif.measure(sections)['PCR0'][:16]}…")
    return sections


def compare_builds(work: Path, first: Path, say: Report) -> None:
    """Build again elsewhere and later, from the bundle alone; the bytes must be the same."""
    with tempfile.TemporaryDirectory(prefix="another-place-") as name:
        other = Path(name)
        pool = Pool(work / "apt", default_sources())
        bundle.write(other / "bundle.tar", [read_lock(image.LOCK)], pool)
        with tarfile.open(other / "bundle.tar") as archive:
            archive.extractall(other / "packages", filter="data")
        alone = Sources(other / "packages", mirrors=(), snapshot=None)
        build_image(replace(RECIPE, sources=alone), other / "work", other / "again.eif", say)
        hashes = [sha256(path) for path in (first, other / "again.eif")]
    say(f"SHA-256 of both builds: {hashes[0]} {hashes[1]}")
    if hashes[0] != hashes[1]:
        raise TrialFailure("two builds differ")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_kernel_again(work: Path, say: Report) -> None:
    """Build the kernel from its source; it must be the recorded one."""
    pool = Pool(work / "apt", default_sources())
    built = kernel.build(read_lock(kernel.LOCK), pool, work, say)
    kernel.checked(built, "the kernel that was built again")
    say(f"kernel of {len(built)} bytes, SHA-256 as recorded: {kernel.recorded()}")


# --- AWS's reader


def read_by_aws(work: Path, eif_file: Path, say: Report) -> None:
    """Have AWS's own code read the image, unsigned and signed, and refuse what is wrong."""
    say("building AWS's reader (a minute, once)")
    program = reader.build(work)
    with tempfile.TemporaryDirectory(prefix="read-", dir=work) as name:
        trial = _Reading(partial(reader.describe, program), Path(name) / "read.eif", say)
        sections = eif.decode(eif_file.read_bytes())
        trial.agrees("unsigned", sections)
        trial.agrees("signed", [*sections, signature(sections)])
        small = [replace_content(section) for section in sections]
        trial.agrees("with its ramdisks swapped", [*small[:-2], small[-1], small[-2]])
        for wrong, other in _wrong_metadata(small):
            trial.refuses(wrong, eif.encode(other))
        trial.refuses("with another checksum", _flipped(eif.encode(small), 544))
        trial.refuses("with an altered ramdisk", _flipped(eif.encode(small), -1))
        other_signature = signature([*small[:-1], Section(Kind.RAMDISK, b"other")])
        trial.refuses("with another image's signature", eif.encode([*small, other_signature]))
        expired = signature(small, -2 * DAY, -DAY)
        trial.refuses("signed with an expired certificate", eif.encode([*small, expired]))


def describe_by_nitro_cli(work: Path, eif_file: Path, say: Report) -> None:
    """Have the real nitro-cli describe the image, unsigned and signed, and refuse bad metadata."""
    say("building nitro-cli (ten minutes, once)")
    program = nitro_cli.install(work)
    with tempfile.TemporaryDirectory(prefix="read-", dir=work) as name:
        trial = _Reading(partial(nitro_cli.describe, program), Path(name) / "read.eif", say)
        sections = eif.decode(eif_file.read_bytes())
        found = trial.agrees("unsigned", sections)
        if not found["CheckCRC"]:
            raise TrialFailure("nitro-cli finds another checksum")
        signed = trial.agrees("signed", [*sections, signature(sections)])
        if not signed["IsSigned"] or not signed["SignatureCheck"]:
            raise TrialFailure("nitro-cli does not accept the signature")
        for wrong, other in _wrong_metadata([replace_content(section) for section in sections]):
            if wrong != "without metadata":  # which it takes, and then shows none
                trial.refuses(wrong, eif.encode(other))


class _Reading:
    """A reader of AWS's on images at one path."""

    def __init__(self, describe: Describe, path: Path, say: Report) -> None:
        self.describe, self.path, self.say = describe, path, say

    def agrees(self, what: str, sections: Sequence[Section]) -> dict[str, Any]:
        self.path.write_bytes(eif.encode(sections))
        try:
            found = self.describe(self.path)
        except reader.Refused as error:
            raise TrialFailure(f"AWS's reader refuses the image {what}: {error}") from error
        theirs = {n: v for n, v in found["Measurements"].items() if n.startswith("PCR")}
        if theirs != eif.measure(eif.decode(self.path.read_bytes())):
            raise TrialFailure(f"AWS's reader measures the image {what} as {theirs}")
        self.say(f"AWS's reader, the image {what}: {', '.join(sorted(theirs))} as measured here")
        return found

    def refuses(self, what: str, encoded: bytes) -> None:
        self.path.write_bytes(encoded)
        try:
            self.describe(self.path)
        except reader.Refused as error:
            self.say(f"AWS's reader refuses an image {what}: {str(error)[:90]}")
            return
        raise TrialFailure(f"AWS's reader takes an image {what}")


def replace_content(section: Section) -> Section:
    """Return a short section of the same kind; metadata stays, because it is what is read."""
    keep = section.kind == Kind.METADATA
    return section if keep else Section(section.kind, section.content[:64])


def _wrong_metadata(sections: Sequence[Section]) -> Iterable[tuple[str, list[Section]]]:
    [content] = [section.content for section in sections if section.kind == Kind.METADATA]
    described = json.loads(content)
    for name in described:
        yield f"without {name}", _described({**described}, [name], sections)
    for name in described["BuildMetadata"]:
        build = {**described, "BuildMetadata": {**described["BuildMetadata"]}}
        yield f"without {name}", _described(build, ["BuildMetadata", name], sections)
    yield "without metadata", [s for s in sections if s.kind != Kind.METADATA]


def _described(
    described: dict[str, object], path: Sequence[str], sections: Sequence[Section]
) -> list[Section]:
    """Return `sections` with metadata that lacks the member at `path`."""
    inner = described
    for step in path[:-1]:
        inner = inner[step]  # type: ignore[assignment]
    del inner[path[-1]]
    other = Section(Kind.METADATA, json.dumps(described).encode())
    return [other if section.kind == Kind.METADATA else section for section in sections]


def _flipped(image_bytes: bytes, position: int) -> bytes:
    changed = bytearray(image_bytes)
    changed[position] ^= 1
    return bytes(changed)


def signature(
    sections: Sequence[Section], begins: timedelta = -DAY, ends: timedelta = 30 * DAY
) -> Section:
    """Return the signature of a new signer, whose certificate is valid between two times."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")])
    now = datetime.now(UTC)
    certificate = x509.CertificateBuilder(
        name, name, key.public_key(), 1, now + begins, now + ends
    ).sign(key, SHA384())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pcr0 = eif.measure(sections)["PCR0"]
    return eif.signature_section(pcr0, pem, certificate.public_bytes(Encoding.PEM))

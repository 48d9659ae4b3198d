"""List what an enclave image, or the client, is made of.

    scripts/sbom [--client] [--out FILE]

Prints a CycloneDX 1.6 document of the image that `scripts/build-eif` makes of this checkout: Python
packages, Debian packages, and the kernel, each as the locks pin it. What only builds has the scope
"excluded". With --client it lists the packages that the client is installed with, as its lock pins
them. Equal locks give equal documents. Exit codes: 0 written, 1 a lock cannot be read, 2 wrong
usage.
"""

from __future__ import annotations

import argparse
import configparser
import json
import re
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from scripts.image import kernel, recipe
from scripts.image.checkout import REPOSITORY
from scripts.image.kernel_build import SOURCE_PACKAGE, KernelError
from scripts.image.locks import Package, PackageError, read_lock
from scripts.image.packages import RELEASE

REQUIREMENTS = [REPOSITORY / "scripts/requirements" / name for name in ("enclave.txt", "model.txt")]
NAME = "oblivious-inference-enclave-image"
CLIENT_NAME = "oblivious-inference"
CLIENT_REQUIREMENTS = REPOSITORY / "scripts/requirements/client.txt"

_PINNED = re.compile(r"([a-z0-9][a-z0-9._-]*)==([\w.+!-]+)((?: --hash=sha256:[0-9a-f]{64})+)")
_DISTRIBUTION = {"distro": RELEASE}
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "urn:cyclonedx:oblivious-inference")

Component = dict[str, Any]


class LockError(Exception):
    """A lock says something else than names, versions and hashes."""


def document() -> dict[str, Any]:
    """Return the document; raises LockError, PackageError, KernelError or OSError."""
    return _document(_subject(NAME, "firmware"), _components())


def client_document() -> dict[str, Any]:
    """Return the document of the client; raises LockError or OSError."""
    pinned_lines = pinned(CLIENT_REQUIREMENTS.read_text())
    subject = _subject(CLIENT_NAME, "application")
    return _document(subject, (_python(*line) for line in pinned_lines))


def _document(subject: Component, components: Iterable[Component]) -> dict[str, Any]:
    described = {component["bom-ref"]: component for component in components}
    body = {
        "metadata": {"component": subject},
        "components": sorted(described.values(), key=lambda each: str(each["bom-ref"])),
        "dependencies": [{"ref": subject["bom-ref"], "dependsOn": sorted(described)}],
    }
    serial = uuid.uuid5(_NAMESPACE, json.dumps(body, sort_keys=True))
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1}
    return {**head, "serialNumber": serial.urn, **body}


def _subject(name: str, kind: str) -> Component:
    project = configparser.ConfigParser()
    project.read(REPOSITORY / "setup.cfg")
    version, licence = (project["metadata"][key] for key in ("version", "license_expression"))
    return {
        "type": kind,
        "bom-ref": name,
        "name": name,
        "version": version,
        "licenses": [{"expression": licence}],
    }


def _components() -> Iterator[Component]:
    """Yield every component; where two have one bom-ref, the later one is what runs."""
    kernel_lock, image_lock = read_lock(kernel.LOCK), read_lock(recipe.LOCK)
    for package in kernel_lock.packages:
        if package.name != SOURCE_PACKAGE:
            yield _debian(package, "excluded")
    for package in image_lock.packages:
        builds = package.name in recipe.TOOL_PACKAGES
        yield _debian(package, "excluded" if builds else "required")
    yield _kernel(kernel_lock.only([SOURCE_PACKAGE])[0])
    for path in REQUIREMENTS:
        for name, version, hashes in pinned(path.read_text()):
            yield _python(name, version, hashes)


def pinned(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield name, version and SHA-256 hashes of each line of a hashed lock, or raise LockError."""
    for line in text.replace("\\\n", "").splitlines():
        line = " ".join(line.partition("#")[0].split())
        if not line:
            continue
        found = _PINNED.fullmatch(line)
        if found is None:
            raise LockError(f"a lock has a line that pins nothing: {line[:80]!r}")
        yield found[1], found[2], re.findall(r"sha256:([0-9a-f]{64})", found[3])


def _python(name: str, version: str, hashes: list[str]) -> Component:
    """Return a Python package; of several hashes, each is that of a file that pip may choose."""
    purl = _purl("pypi", re.sub(r"[-_.]+", "-", name), version)
    component = _library(name, version, purl)
    if len(hashes) == 1:
        return {**component, "hashes": _sha256(hashes)}
    source = {"type": "distribution", "url": purl, "hashes": _sha256(hashes)}
    return {**component, "externalReferences": [source]}


def _debian(package: Package, scope: str) -> Component:
    component = _library(package.name, package.version, _debian_purl(package))
    return {**component, "scope": scope, "hashes": _sha256([package.sha256])}


def _kernel(source: Package) -> Component:
    """Return the kernel that is built here; its hash is that of the bzImage in the image."""
    ancestor = _debian(source, "excluded")
    del ancestor["scope"], ancestor["bom-ref"]
    return {
        "type": "operating-system",
        "bom-ref": "linux",
        "name": "linux",
        "version": source.version,
        "purl": _purl("deb/debian", "linux", source.version, {"arch": "source", **_DISTRIBUTION}),
        "hashes": _sha256([kernel.recorded()]),
        "pedigree": {
            "ancestors": [ancestor],
            "notes": "scripts/image/kernel_build.py edits vsock; scripts/deploy/kernel.config",
        },
    }


def _library(name: str, version: str, purl: str) -> Component:
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "scope": "required",
        "purl": purl,
    }


def _debian_purl(package: Package) -> str:
    architecture = package.file_name.removesuffix(".deb").rpartition("_")[2]
    qualifiers = {"arch": architecture, **_DISTRIBUTION}
    return _purl("deb/debian", package.name, package.version, qualifiers)


def _purl(kind: str, name: str, version: str, qualifiers: Mapping[str, str] | None = None) -> str:
    """Return a package URL (ECMA-427)."""
    tail = "&".join(f"{key}={quote(value)}" for key, value in (qualifiers or {}).items())
    return f"pkg:{kind}/{quote(name)}@{quote(version, safe=':')}" + (f"?{tail}" if tail else "")


def _sha256(values: Iterable[str]) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value} for value in values]


def main() -> int:
    """Write the document; return the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/sbom", allow_abbrev=False)
    parser.add_argument("--client", action="store_true", help="list the client's packages")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there, not to the output")
    arguments = parser.parse_args()
    try:
        found = client_document() if arguments.client else document()
        text = json.dumps(found, indent=2) + "\n"
        if arguments.out is None:
            sys.stdout.write(text)
        else:
            arguments.out.write_text(text)
    except OSError as error:
        print(f"sbom: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except (LockError, PackageError, KernelError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

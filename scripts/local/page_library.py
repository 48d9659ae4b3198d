"""Bring the library that the page of the local endpoint stands on, as it is locked.

    python -m scripts.local.page_library

npm installs what scripts/requirements/page/package-lock.json says, whose hashes it checks; nothing
of it is run. The one file that browsers load and the licences of all that is in it are then kept in
the tree, where people can read them and wheels find them. For another version: change package.json,
lock again (`npm install --package-lock-only --ignore-scripts` there), run this, and set SHA256.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKED = ROOT / "scripts" / "requirements" / "page"
INSTALLED = ROOT / ".cache" / "page"
VENDOR = ROOT / "oblivious_client" / "page" / "vendor"

LIBRARY = VENDOR / "markdown-it.mjs"
LICENSES = VENDOR / "LICENSES.txt"
BUNDLED = ("markdown-it", "entities", "linkify-it", "mdurl", "punycode.js", "uc.micro")
"""What is within the file: the library, and what it stands on."""
SHA256 = "d5432491790141da046b1197353705db03264f40b5727f3b4b591f5aba193e30"
_SOURCE = "markdown-it/dist/browser/markdown-it.esm.min.mjs"


class LibraryError(Exception):
    """The library is not the one that is expected."""


def installed() -> Path:
    """Return the folder of the locked packages, which npm installs if they are not there yet."""
    lock = LOCKED / "package-lock.json"
    kept = INSTALLED / "package-lock.json"
    packages = INSTALLED / "node_modules"
    if packages.is_dir() and kept.is_file() and kept.read_bytes() == lock.read_bytes():
        return packages
    INSTALLED.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(LOCKED / "package.json", INSTALLED / "package.json")
    shutil.copyfile(lock, kept)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    try:
        subprocess.run(command, cwd=INSTALLED, check=True)
    except BaseException:
        kept.unlink()  # so that the next time begins anew
        raise
    return packages


def checked(library: bytes) -> bytes:
    """Return the library; raises LibraryError if it is another."""
    found = hashlib.sha256(library).hexdigest()
    if found != SHA256:
        raise LibraryError(f"the library has the SHA-256 {found}, not {SHA256}")
    return library


def licenses(packages: Path) -> str:
    """Return the licences of what is bundled, as their packages have them."""
    texts = []
    for name in BUNDLED:
        (path,) = sorted((packages / name).glob("LICENSE*"))
        text = path.read_text(encoding="utf-8").strip()
        texts.append(f"{name}\n{'=' * len(name)}\n\n{text}\n")
    return "\n\n".join(texts)


def main() -> None:
    """Write the file and the licences."""
    packages = installed()
    library = checked((packages / _SOURCE).read_bytes())
    VENDOR.mkdir(exist_ok=True)
    LIBRARY.write_bytes(library)
    LICENSES.write_text(licenses(packages), encoding="utf-8")


if __name__ == "__main__":
    main()

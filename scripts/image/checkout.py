"""What git tracks in this checkout, which is all that an image may be made of."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
OWN_PACKAGES = ("protocol", "enclave_server")
# All that decides an image's bytes, beside a configuration that is given.
INPUTS = (
    *OWN_PACKAGES,
    "scripts/image",
    "scripts/deploy/enclave.toml",
    "scripts/deploy/image-packages.lock",
    "scripts/deploy/kernel.config",
    "scripts/deploy/kernel.lock",
    "scripts/deploy/kernel.sha256",
    "scripts/requirements",
    "setup.cfg",
)


class CheckoutError(Exception):
    """The checkout is not one that an image can be made of; the text says why."""


def own_modules(repository: Path = REPOSITORY) -> list[Path]:
    """Return the tracked modules of our own packages, relative to `repository`."""
    patterns = [f"{name}/*.py" for name in OWN_PACKAGES]  # git's `*` goes into directories too
    return [Path(name) for name in _git(repository, "ls-files", "-z", "--", *patterns)]


def refuse_changes(repository: Path = REPOSITORY) -> None:
    """Raise CheckoutError if anything that decides an image differs from what is committed."""
    listed = ["status", "--porcelain", "-z", "--untracked-files=all", "--no-renames"]
    if changes := _git(repository, *listed, "--", *INPUTS):
        shown = ", ".join(change[3:] for change in changes[:5]) + (" …" if changes[5:] else "")
        raise CheckoutError(
            f"{shown}: not as committed. An image is made of what git tracks, so that others "
            "can make it again: commit, stash or remove this first"
        )


def _git(repository: Path, *arguments: str) -> Sequence[str]:
    command = ["git", "-C", str(repository), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise CheckoutError("git is missing: images are made of what git tracks") from None
    if done.returncode:
        raise CheckoutError(f"images are made of what git tracks, but {done.stderr.strip()}")
    return done.stdout.split("\0")[:-1]

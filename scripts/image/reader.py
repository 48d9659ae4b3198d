"""Read an enclave image with AWS's own crate.

    scripts/describe-eif [--work DIR] FILE

Prints the measurements and the metadata that AWS's reader finds in the image, as JSON. nitro-cli
reads every running enclave's image so, and ends the enclave whose image it cannot read. Exit
codes: 0 read, 1 refused, or the reader could not be built (the last line says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from scripts.image.checkout import REPOSITORY

CRATE = Path(__file__).resolve().parent / "eif-reader"
BUILD_SECONDS, READ_SECONDS = 1800, 300
_NEEDED = "AWS's reader needs Rust's cargo, and libssl-dev and pkg-config to be built"


class ReaderError(Exception):
    """AWS's reader cannot be had; the text says why."""


class Refused(Exception):
    """AWS's reader does not take the image; the text is its reason."""


def build(work: Path) -> Path:
    """Return the reader's program, built below `work` from the crates that its lock names."""
    if not shutil.which("cargo"):
        raise ReaderError(f"{_NEEDED}: there is no cargo")
    target = work.resolve() / "eif-reader"
    if not (target / "debug/eif-reader").exists():
        print("building AWS's reader (one to five minutes, once)", file=sys.stderr, flush=True)
    command = [
        "cargo",
        "build",
        "--locked",
        "--quiet",
        "--manifest-path",
        str(CRATE / "Cargo.toml"),
    ]
    done = _run(command, BUILD_SECONDS, {**os.environ, "CARGO_TARGET_DIR": str(target)})
    if done.returncode:
        raise ReaderError(f"{_NEEDED}, and could not be built:\n{done.stderr.strip()[-2000:]}")
    return target / "debug/eif-reader"


def describe(program: Path, image: Path) -> dict[str, Any]:
    """Return what the reader finds in `image`, or raise Refused."""
    done = _run([str(program), str(image)], READ_SECONDS, {**os.environ, "RUST_BACKTRACE": "0"})
    if done.returncode:
        raise Refused(_reason(done.stderr))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _reason(said: str) -> str:
    """Return why a program of Rust's ended, without its place in the source and its traces."""
    before = re.split(r"(?im)^\s*(?:stack )?backtrace:|^note: ", said, maxsplit=1)[0].strip()
    panicked = re.match(r"thread .* panicked at [^\n]*:\n(.*)", before, re.DOTALL)
    return (panicked[1] if panicked else before).strip()[-500:]


def _run(
    command: list[str], seconds: float, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReaderError(f"{command[0]} did not end after {seconds:.0f} s") from None


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("image", type=Path, metavar="FILE")
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".cache/enclave")
    options = parser.parse_args()
    try:
        options.image.open("rb").close()
        print(json.dumps(describe(build(options.work), options.image), indent=2))
    except OSError as error:
        print(f"describe-eif: cannot read {options.image}: {error.strerror}", file=sys.stderr)
        return 1
    except Refused as error:
        print(f"describe-eif: AWS's reader refuses {options.image}: {error}", file=sys.stderr)
        return 1
    except ReaderError as error:
        print(f"describe-eif: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

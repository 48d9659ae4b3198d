"""AWS's own nitro-cli, as far as it runs outside EC2: it describes images.

It is built from its crate, with all of AWS's SDK: some ten minutes, once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scripts.image.reader import ReaderError, Refused

CRATE, VERSION = "aws-nitro-enclaves-cli", "1.5.2"
BUILD_SECONDS, READ_SECONDS = 5400, 300


def install(work: Path) -> Path:
    """Return the program nitro-cli, built below `work`."""
    if not shutil.which("cargo"):
        raise ReaderError("nitro-cli needs Rust's cargo to be built: there is none")
    target = work.resolve() / f"nitro-cli-{VERSION}"
    command = ["cargo", "install", CRATE, "--version", f"={VERSION}", "--locked", "--quiet"]
    done = _run([*command, "--root", str(target)], BUILD_SECONDS)
    if done.returncode:
        raise ReaderError(f"nitro-cli could not be built:\n{done.stderr.strip()[-2000:]}")
    return target / "bin/nitro-cli"


def describe(program: Path, image: Path) -> dict[str, Any]:
    """Return what `nitro-cli describe-eif` says of `image`, or raise Refused.

    A wrong checksum or signature is no refusal there: `CheckCRC` and `SignatureCheck` tell.
    """
    with tempfile.TemporaryDirectory(prefix="nitro-cli-") as logs:
        command = [str(program), "describe-eif", "--eif-path", str(image)]
        done = _run(command, READ_SECONDS, {"NITRO_CLI_LOGS_PATH": logs})
    if done.returncode:
        raise Refused((done.stdout + done.stderr).strip()[-500:])
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run(
    command: list[str], seconds: float, more: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env={**os.environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ReaderError(f"{command[0]} did not end after {seconds:.0f} s") from None

"""Whether an enclave image may be installed, from what `nitro-cli describe-eif` prints of it.

`install-host` runs this with the system's own Python (3.9 on Amazon Linux 2023), from the checkout.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Mapping

# Registers that tell which code runs: the image, its two halves, or who signed it.
CODE_PINS = ({"PCR0"}, {"PCR1", "PCR2"}, {"PCR8"})
PCR = re.compile(r"PCR(0|[1-9][0-9]?)")
VALUE = re.compile(r"[0-9a-f]{96}")


class ImageError(Exception):
    """The image is not to be installed, or cannot be judged; the text says why."""


def check(description: Any, releases: list[dict[str, str]] | None) -> None:
    """Return if the image is whole and is one of `releases`, where there are any; or raise."""
    if not isinstance(description, dict) or description.get("CheckCRC") is not True:
        raise ImageError("the image's checksum is not that of its content")
    if description.get("SignatureCheck") is False:
        raise ImageError("the image's signature is not of its content")
    found = registers(description)
    if releases is not None and not any(pins.items() <= found.items() for pins in releases):
        raise ImageError("the image is another than the pinned one: " + difference(found, releases))


def registers(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the registers in nitro-cli's JSON, or in its inner object, in lower case."""
    inner = document.get("Measurements", document)
    if not isinstance(inner, dict):
        raise ImageError("Measurements is not an object")
    found = {name: value for name, value in inner.items() if PCR.fullmatch(name)}
    lowered = {name: str(value).lower() for name, value in found.items()}
    if not lowered or not all(VALUE.fullmatch(value) for value in lowered.values()):
        raise ImageError("no measurements of 48 bytes in hexadecimal")
    return lowered


def read_releases(path: Path) -> list[dict[str, str]]:
    """Return the measurements in a file for `oblivious-client --pcrs`: of one release, or a list."""
    try:
        document = json.loads(path.read_bytes())
        releases = document if isinstance(document, list) else [document]
        if not releases or not all(isinstance(each, dict) for each in releases):
            raise ImageError("neither an object nor a list of objects")
        found = [registers(each) for each in releases]
    except (OSError, ValueError, RecursionError, ImageError) as error:
        raise ImageError(f"{path} holds no measurements: {error}") from error
    if not all(any(pins <= each.keys() for pins in CODE_PINS) for each in found):
        raise ImageError(f"{path} does not pin the code: PCR0, PCR1 and PCR2, or PCR8 is needed")
    return found


def difference(found: Mapping[str, str], releases: list[dict[str, str]]) -> str:
    """Return which registers differ from the nearest release."""
    differing = [
        [name for name, value in pins.items() if found.get(name) != value] for pins in releases
    ]
    nearest: list[str] = min(differing, key=lambda names: len(names))
    return ", ".join(nearest) + " differ"


def main() -> int:
    """Judge the description in a file; return 0, or 1 and say why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("description", type=Path, help="what nitro-cli describe-eif printed")
    parser.add_argument("--pcrs", type=Path, help="measurements of the images that will do")
    arguments = parser.parse_args()
    try:
        releases = read_releases(arguments.pcrs) if arguments.pcrs else None
        check(json.loads(arguments.description.read_bytes()), releases)
    except (OSError, ValueError, ImageError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

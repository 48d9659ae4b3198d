"""Measure an enclave image.

    scripts/measure-eif FILE

Prints PCR0, PCR1, PCR2 and, for a signed image, PCR8, as `nitro-cli describe-eif` does;
`oblivious-client verify --pcrs` takes the output. Exit codes: 0 measured, 1 not an image.
"""

from __future__ import annotations

import sys
from pathlib import Path

from scripts.image import eif


def main() -> int:
    if sys.argv[1:] in (["-h"], ["--help"]):
        print((__doc__ or "").strip())
        return 0
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 2
    try:
        print(eif.nitro_cli_json(eif.measure(eif.decode(Path(sys.argv[1]).read_bytes()))))
    except OSError as error:
        print(f"measure-eif: cannot read {sys.argv[1]}: {error.strerror}", file=sys.stderr)
        return 1
    except eif.EifError as error:
        print(f"measure-eif: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

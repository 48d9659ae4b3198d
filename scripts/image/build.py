"""Build the enclave image.

    scripts/build-eif [--out FILE] [--config FILE] [--without-weights] [--kernel-from DIR]
                      [--sign KEY.pem CERTIFICATE.pem] [--work DIR]
    scripts/build-eif --update-lock

Writes oblivious-inference.eif (or FILE) and prints its measurements as nitro-cli does. Needs
Debian or Ubuntu (apt, dpkg-deb), no root and no containers. --config is the server's
configuration, measured as part of the image; --kernel-from takes bzImage, cmdline and nsm.ko from
a directory of AWS's tools in place of Debian's kernel; --sign adds PCR8; --update-lock pins the
newest Debian packages instead of building. Everything fetched is kept in DIR (.cache/enclave) and
used again. Exit codes: 0 built, 1 not built (the last line says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from enclave_server.config import ConfigError, load_config
from enclave_server.processes.startup import StartError, check
from scripts.image import eif, packages
from scripts.image import recipe as image

REPOSITORY = image.REPOSITORY


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
    parser.add_argument("--out", type=Path, default=Path("oblivious-inference.eif"))
    parser.add_argument("--config", type=Path, default=REPOSITORY / "scripts/deploy/enclave.toml")
    parser.add_argument("--without-weights", action="store_true")
    parser.add_argument("--kernel-from", type=Path, metavar="DIR")
    parser.add_argument("--sign", nargs=2, type=Path, metavar=("KEY", "CERTIFICATE"))
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".cache/enclave")
    parser.add_argument("--update-lock", action="store_true")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    started = time.monotonic()

    def say(message: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {message}", file=sys.stderr, flush=True)

    try:
        if options.update_lock:
            update_lock(options.work, say)
        else:
            build(options, say)
    except (image.ImageError, packages.PackageError, eif.EifError, OSError) as error:
        print(f"build-eif: {error}", file=sys.stderr)
        return 1
    return 0


def update_lock(work: Path, say: image.Say) -> None:
    say("asking the archive")
    found = image.current_packages(packages.Archive(work / "apt"))
    packages.write_lock(image.LOCK, found)
    say(f"{len(found)} packages pinned in {image.LOCK.name}")


def check_inputs(options: argparse.Namespace) -> None:
    """Find out now what would come to light at the end of the build, or in the enclave."""
    try:
        config = load_config(str(options.config))
        check(config)
    except (ConfigError, StartError) as error:
        raise image.ImageError(str(error)) from error
    if options.without_weights and config.uses_engine:
        raise image.ImageError(
            f"{options.config} serves the embedded model, which needs its weights: "
            "name other models in a --config FILE, or leave out --without-weights"
        )
    if config.uses_engine and config.engine.model_file is not None:
        raise image.ImageError(f"{config.engine.model_file} would not be in the image")
    for path in (*(options.sign or ()), *((options.kernel_from,) if options.kernel_from else ())):
        path.stat()


def build(options: argparse.Namespace, say: image.Say) -> None:
    check_inputs(options)
    recipe = image.Recipe(options.config, not options.without_weights, kernel=options.kernel_from)
    sections = image.build(recipe, options.work, say)
    if options.sign:
        pem = [path.read_bytes() for path in options.sign]
        sections.append(eif.signature_section(eif.measure(sections)["PCR0"], *pem))
    encoded = eif.encode(sections)
    options.out.write_bytes(encoded)
    say(f"{options.out}: {len(encoded)} bytes")
    print(eif.nitro_cli_json(eif.measure(sections)))


if __name__ == "__main__":
    sys.exit(main())

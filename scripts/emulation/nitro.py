"""QEMU's own nitro-enclave machine, which measures images with code that nobody here wrote.

Debian builds QEMU without it, so it is built from Debian's source package in a temporary Debian
root that mmdebstrap makes and removes: about three minutes, once. It needs root.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from scripts.emulation.emulator import Emulator, EmulatorError, emulated_clock
from scripts.image.packages import RELEASE
from scripts.image.pool import first_mirror

BUILD_SECONDS = 1500
PACKAGES = [
    "build-essential",
    "dpkg-dev",
    "ninja-build",
    "meson",
    "pkgconf",
    "python3-venv",
    "python3-packaging",
    "libglib2.0-dev",
    "libgnutls28-dev",
    "libcbor-dev",
    "libfdt-dev",
    "zlib1g-dev",
    "flex",
    "bison",
]
BUILD = """\
set -eux
cd /tmp
apt-get source -qq -o APT::Sandbox::User=root qemu
cd qemu-*/
echo CONFIG_NITRO_ENCLAVE=y >configs/devices/x86_64-softmmu/nitro.mak
mkdir build
cd build
../configure --target-list=x86_64-softmmu --without-default-features \\
    --without-default-devices --with-devices-x86_64=nitro --enable-system --enable-tcg \\
    --enable-gnutls --enable-libcbor --enable-vhost-user --enable-fdt=system \\
    --disable-docs --disable-tools --disable-werror --disable-install-blobs \\
    --disable-debug-info --disable-download
ninja qemu-system-x86_64
mkdir /out
strip -o /out/qemu-system-x86_64 qemu-system-x86_64
ldd qemu-system-x86_64 | grep -o '/[^ ]*' | xargs cp -Lt /out
"""


def build(work: Path) -> Path:
    """Return the directory of the program and its libraries, built once."""
    target = work / "qemu-nitro"
    if target.exists():
        return target
    if not shutil.which("mmdebstrap"):
        raise EmulatorError("mmdebstrap is missing: apt-get install mmdebstrap")
    with tempfile.TemporaryDirectory(prefix="nitro-", dir=work) as name:
        recipe = Path(name) / "build"
        recipe.write_text(BUILD)
        hooks = [
            f"upload '{recipe}' /build",
            'chroot "$1" sh /build',
            f"copy-out /out '{name}'",
        ]
        sources = [f"{kind} {first_mirror()} {RELEASE} main" for kind in ("deb", "deb-src")]
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt"]
        command += [f"--include={','.join(PACKAGES)}"]
        command += [f"--customize-hook={hook}" for hook in hooks]
        # a mount namespace of its own, so that no mount can outlive it
        done = subprocess.run(
            ["unshare", "--mount", *command, RELEASE, "/dev/null", *sources],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        if done.returncode:
            raise EmulatorError(f"QEMU was not built:\n{done.stderr[-2000:]}")
        (Path(name) / "out").rename(target)
    return target


def start(emulator: Emulator, program: Path, image: Path, memory: int) -> subprocess.Popen[bytes]:
    """Boot `image` on the nitro-enclave machine, which measures it and has its own NSM."""
    loader = [str(program / "ld-linux-x86-64.so.2"), "--library-path", str(program)]
    options = [
        *("-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", str(memory)),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-serial", "stdio", "-M", "nitro-enclave,vsock=vsock,id=measured,acpi=on"),
        *("-chardev", f"socket,id=vsock,path={emulator.enclave_device}"),
        *("-kernel", str(image), "-append", emulated_clock()),
        *emulator.firmware(),
    ]
    command = [*loader, str(program / "qemu-system-x86_64"), *options]
    return emulator.start("enclave", command)

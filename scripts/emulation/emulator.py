"""An emulated Nitro enclave: QEMU boots the image, two vhost-user back ends give it its devices.

QEMU's `microvm` machine runs the unmodified image without KVM. `vhost_vsock` joins the guest's
genuine AF_VSOCK to Unix sockets on this machine, `vhost_nsm` is the module behind `/dev/nsm`.
Nothing here opens an AF_VSOCK socket on this machine, and leaving the block ends every process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from scripts.image.eif import Kind, decode, measure
from scripts.image.packages import Archive

ENCLAVE_CID, PARENT_CID = 16, 3
SERVER_PORT, HEARTBEAT_PORT = 5000, 9000
STOP_SECONDS = 30
LIFETIME_SECONDS = 1800  # no guest outlives this, whatever happens to its parent
CPU = "Haswell"  # the oldest model with AVX2, which the embedded engine needs
EMULATOR_PACKAGES = ["qemu-system-x86/trixie-backports", "qemu-system-common/trixie-backports"]
EMULATOR_PACKAGES += ["qemu-system-data/trixie-backports", "seabios/trixie-backports"]
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Machine:
    """What the host chooses: MiB of memory, processors, and how the kernel learns of devices.

    A Nitro hypervisor names them on the kernel's command line; ACPI is the other way. For trials of
    what must not boot, words can be added to that line and devices left out.
    """

    memory: int
    processors: int = 1
    acpi: bool = False
    appended: str = ""
    devices: tuple[str, ...] = ("vsock", "nsm")

    def options(self) -> list[str]:
        """Return QEMU's options for this machine."""
        found = "acpi=on" if self.acpi else "acpi=off,auto-kernel-cmdline=on"
        size = f"{self.memory}M"
        chosen = ["-accel", "tcg", "-cpu", CPU, "-smp", str(self.processors), "-m", size]
        chosen += ["-M", f"microvm,{found},rtc=on,memory-backend=memory"]
        chosen += ["-object", f"memory-backend-memfd,id=memory,size={size},share=on"]
        # the keyboard's controller, by which `reboot=k` ends the machine as it does an enclave
        return chosen if self.acpi else [*chosen, "-device", "i8042"]


class EmulatorError(Exception):
    """Something that the emulated machine needs did not happen."""


class Emulator:
    """A directory of sockets and logs, and the processes started in it."""

    def __init__(
        self,
        work: Path,
        say: Callable[[str], None],
        *,
        cids: Sequence[int] = (ENCLAVE_CID,),
        registers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Be ready for an enclave at each of `cids`; `registers` are beside those of the image."""
        self._work, self._say = work, say
        self._cids, self._registers = tuple(cids), dict(registers)
        self._temporary = tempfile.TemporaryDirectory(prefix="enclave-")  # a short path: sockets
        self.directory = Path(self._temporary.name)
        self.vsock = self.directory / "vsock"
        self.enclave_device = self.device(ENCLAVE_CID)
        self.nsm_root = self.directory / "nsm-root.pem"
        self.authority = (
            self.directory / "nsm-authority.pem"
        )  # its key too, where it was made first
        self.heard = threading.Event()
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for child in reversed(self._children):
            self.stop(child)
        self._temporary.cleanup()

    # --- processes

    def start(self, name: str, command: list[str]) -> subprocess.Popen[bytes]:
        """Start `command` with its output in NAME.log and an end that it cannot outlive."""
        with self.log(name).open("wb") as log:
            child = subprocess.Popen(
                ["timeout", f"--kill-after={STOP_SECONDS}", str(LIFETIME_SECONDS), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._children.append(child)
        return child

    def stop(self, child: subprocess.Popen[bytes]) -> None:
        """End `child` and what it started, which share a process group."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(STOP_SECONDS)

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """End `child` at once, as a crash would."""
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(STOP_SECONDS)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def tail(self, name: str) -> str:
        return self.log(name).read_text(errors="replace")[-2000:]

    def said(self, name: str, text: str) -> bool:
        return text in self.log(name).read_text(errors="replace")

    def wait_until(
        self,
        name: str,
        child: subprocess.Popen[bytes],
        happened: Callable[[], bool],
        seconds: float,
    ) -> None:
        """Wait for something that `child` should bring about, or raise EmulatorError."""
        deadline = time.monotonic() + seconds
        while not happened():
            if child.poll() is not None:
                raise EmulatorError(f"{name} ended with {child.returncode}:\n{self.tail(name)}")
            if time.monotonic() > deadline:
                raise EmulatorError(f"{name} not ready after {seconds:.0f} s:\n{self.tail(name)}")
            time.sleep(0.05)

    # --- the machine

    def start_switch(self, *options: str) -> None:
        """Start the vsock devices; by default the enclaves' alone, the first joined to `vsock`."""
        own = [word for cid in self._cids for word in ("--guest", f"{cid}={self.device(cid)}")]
        own += ["--unix", f"{self._cids[0]}={self.vsock}"] if not options else []
        child = self.start("switch", [*_module("vhost_vsock"), *own, *options])
        self.wait_until("switch", child, lambda: self.said("switch", "ready"), 120)

    def start_enclave(
        self, image: Path, machine: Machine, cid: int = ENCLAVE_CID
    ) -> subprocess.Popen[bytes]:
        """Boot `image` on `machine`, with a security module that vouches for it."""
        sections = decode(image.read_bytes())
        parts = {kind: b"".join(s.content for s in sections if s.kind == kind) for kind in Kind}
        kernel, initrd = self.directory / "kernel", self.directory / "initrd"
        kernel.write_bytes(parts[Kind.KERNEL])
        initrd.write_bytes(parts[Kind.RAMDISK])
        if not self.nsm_root.exists():  # a reboot finds the module that was there before
            self._start_nsm(measure(sections))
        words = [parts[Kind.CMDLINE].decode(), emulated_clock(), machine.appended]
        options = [
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-serial", "stdio", *machine.options()),
            *("-kernel", str(kernel), "-initrd", str(initrd), "-append", " ".join(words).strip()),
        ]
        for name in machine.devices:
            options += self._device(name, cid)
        return self.start(enclave_name(cid), [*self._qemu(), *options])

    def device(self, cid: int) -> Path:
        """Return the socket of a guest's vsock device."""
        return self.directory / f"vsock{cid}.sock"

    def _device(self, name: str, cid: int) -> list[str]:
        """Return QEMU's options for vsock or for the security module, whose back ends run here."""
        path, device = {
            "vsock": (self.device(cid), "vhost-user-vsock-device"),
            "nsm": (
                self._module_socket(cid),
                "vhost-user-test-device,virtio-id=33,num_vqs=1,vq_size=64",
            ),
        }[name]
        character_device = ["-chardev", f"socket,id={name},path={path}"]
        return [*character_device, "-device", f"{device},chardev={name}"]

    def answer_heartbeat(self) -> None:
        """Echo the enclave's first byte as the parent instance does; `heard` says when."""
        path = Path(f"{self.vsock}_{HEARTBEAT_PORT}")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=self._echo, args=(listener,), daemon=True).start()

    def _echo(self, listener: socket.socket) -> None:
        while True:
            stream, _ = listener.accept()
            with stream:
                if byte := stream.recv(1):
                    stream.sendall(byte)
                    self.heard.set()

    def _start_nsm(self, pcrs: dict[str, str]) -> None:
        measured = self.directory / "pcrs.json"
        measured.write_text(json.dumps({**pcrs, **self._registers}))
        options = [*(str(self._module_socket(cid)) for cid in self._cids), "--pcrs", str(measured)]
        options += ["--authority", str(self.authority)] if self.authority.exists() else []
        child = self.start("nsm", [*_module("vhost_nsm"), *options, "--root", str(self.nsm_root)])
        self.wait_until("nsm", child, lambda: self.said("nsm", "ready"), 120)

    def _module_socket(self, cid: int) -> Path:
        return self.directory / f"nsm{cid}.sock"

    def firmware(self) -> list[str]:
        """Return QEMU's options that name its firmware."""
        share = self._qemu_root() / "usr/share"
        return ["-L", str(share / "qemu"), "-L", str(share / "seabios")]

    def _qemu(self) -> list[str]:
        root = self._qemu_root()
        libraries = root / "usr/lib/x86_64-linux-gnu"
        loader = [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]
        return [*loader, str(root / "usr/bin/qemu-system-x86_64"), *self.firmware()]

    def _qemu_root(self) -> Path:
        archive = Archive(self._work / "apt-qemu")
        return archive.unpack_closure(EMULATOR_PACKAGES, self._work / "qemu")


def connect_vsock(path: Path, port: int, seconds: float = 20) -> socket.socket:
    """Return a stream to a guest's vsock port through its Unix socket, or raise OSError."""
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(seconds)
    try:
        stream.connect(str(path))
        stream.sendall(b"CONNECT %d\n" % port)
        answer = b""
        while not answer.endswith(b"\n"):
            answer += (byte := stream.recv(1))
            if not byte:
                raise ConnectionRefusedError("the guest refused")
    except OSError:
        stream.close()
        raise
    return stream


def enclave_name(cid: int) -> str:
    """Return the name of an enclave's log."""
    return "enclave" if cid == ENCLAVE_CID else f"enclave{cid}"


def _module(name: str) -> list[str]:
    return [sys.executable, "-B", "-m", f"scripts.emulation.{name}"]


def emulated_clock() -> str:
    """Return what an emulated machine's kernel has to be told about its clock.

    Its rate, because measuring it there can hang; and that it can be relied on, because the
    watchdog compares it with ticks, which emulation loses. An enclave has the hypervisor's.
    """
    text = Path("/proc/cpuinfo").read_text()
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", text, re.MULTILINE)
    rate = [f"tsc_early_khz={int(float(found[1]) * 1000)}"] if found else []
    return " ".join([*rate, "tsc=reliable"])

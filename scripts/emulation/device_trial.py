"""What is tried with small machines: how the kernel finds devices, and what it sends.

The image is the real one without weights, but for its command, which sends octets in writes of
many sizes and ends. So each boot also shows that an enclave ends with its server.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path

from scripts.emulation.emulator import ENCLAVE_CID, Emulator, Machine
from scripts.emulation.image_trial import RECIPE, build_image
from scripts.emulation.report import BOOT_SECONDS, Report, TrialFailure

MEMORY_MIB = 512
MACHINES = (
    Machine(MEMORY_MIB, processors=1),
    Machine(MEMORY_MIB, processors=2),
    Machine(MEMORY_MIB, processors=4),
    Machine(MEMORY_MIB, processors=1, acpi=True),
)
WRONG = (
    (Machine(MEMORY_MIB, appended="init=/bin/sh"), "nothing may add init=/bin/sh"),
    (Machine(MEMORY_MIB, devices=("vsock",)), "the kernel found no security module"),
    (Machine(MEMORY_MIB, devices=("nsm",)), "the kernel found no vsock device"),
)
MOST_DESCRIPTORS = 2  # of a packet: what a Nitro enclave's other end takes without harm
PORT = 9100
# Around the limits of a packet of ours, of a linear buffer, and of the protocol.
WRITES = (128, 16384, 28672, 28673, 32404, 32405, 32768, 65536, 262144)
TIMES = 8
EXPECTED = TIMES * sum(WRITES)
SEND = f"""
import socket
for size in {WRITES}:
    with socket.socket(socket.AF_VSOCK) as stream:
        stream.connect((3, {PORT}))
        for _ in range({TIMES}):
            stream.sendall(bytes(size))
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
print("SENT", flush=True)
"""


def try_machines(work: Path, say: Report) -> None:
    """Boot on every kind of machine; see all octets arrive, in packets that are fit for Nitro."""
    command = ["/usr/bin/python3", "-I", "-B", "-c", f"exec({SEND!r})"]
    eif_file = work / "devices.eif"
    build_image(replace(RECIPE, weights=False, command=command), work, eif_file, say)
    for machine in MACHINES:
        with Emulator(work, say) as emulator:
            _try_machine(emulator, eif_file, machine, say)
    for machine, reason in WRONG:
        with Emulator(work, say) as emulator:
            _see_it_stop(emulator, eif_file, machine, reason, say)


def _try_machine(emulator: Emulator, eif_file: Path, machine: Machine, say: Report) -> None:
    emulator.answer_heartbeat()
    emulator.start_switch()
    sink = Sink(Path(f"{emulator.vsock}_{PORT}"))
    started = time.monotonic()
    enclave = emulator.start_enclave(eif_file, machine)
    emulator.wait_until(
        "enclave", enclave, lambda: emulator.said("enclave", "INIT up"), BOOT_SECONDS
    )
    up = time.monotonic() - started
    wait_for_end(emulator, enclave)
    said = emulator.log("enclave").read_text(errors="replace")
    if "SENT" not in said or f"processors: {machine.processors}\n" not in said.replace("\r", ""):
        raise TrialFailure(f"{machine} did not do its work:\n{said[-2000:]}")
    if sink.received != EXPECTED:
        raise TrialFailure(f"{sink.received} octets came of {EXPECTED}")
    how = "ACPI" if machine.acpi else "command line"
    say(f"devices by {how}, processors: {machine.processors}: init after {up:.1f} s")
    check_descriptors(emulator, ENCLAVE_CID, say)


def _see_it_stop(
    emulator: Emulator, eif_file: Path, machine: Machine, reason: str, say: Report
) -> None:
    emulator.start_switch()
    wait_for_end(emulator, emulator.start_enclave(eif_file, machine))
    said = emulator.log("enclave").read_text(errors="replace")
    if f"INIT stops: {reason}" not in said or "START as" in said:
        raise TrialFailure(f"it did not stop because {reason}:\n{said[-2000:]}")
    say(f"the boot ends: {reason}")


def wait_for_end(emulator: Emulator, enclave: subprocess.Popen[bytes]) -> None:
    """Wait until the guest has ended its machine by itself, or raise TrialFailure."""
    try:
        enclave.wait(BOOT_SECONDS)
    except subprocess.TimeoutExpired:
        raise TrialFailure(f"the machine goes on:\n{emulator.tail('enclave')}") from None


def check_descriptors(emulator: Emulator, cid: int, say: Report) -> None:
    """Judge the packets of a guest that has ended; the switch counts when its device goes."""
    deadline = time.monotonic() + BOOT_SECONDS
    while not (counted := _counts(emulator, cid)):
        if time.monotonic() > deadline:
            raise TrialFailure(f"nobody counted the packets of CID {cid}")
        time.sleep(0.05)
    shown = ", ".join(f"{counted[n]} in {n}" for n in sorted(counted))
    say(f"packets of CID {cid} by descriptors: {shown}")
    if max(counted) > MOST_DESCRIPTORS:
        raise TrialFailure(f"a packet came in {max(counted)} descriptors")


def _counts(emulator: Emulator, cid: int) -> dict[int, int]:
    """Return how many packets of a guest came in how many descriptors, over all its boots."""
    said = emulator.log("switch").read_text(errors="replace")
    counted: dict[int, int] = {}
    for packets, count in re.findall(rf"^CID {cid}: (\d+) packets in (\d+) desc", said, re.M):
        counted[int(count)] = counted.get(int(count), 0) + int(packets)
    return counted


class Sink:
    """Takes whatever comes to a vsock port of the host, and counts it."""

    def __init__(self, path: Path) -> None:
        self.received = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            stream, _ = self._listener.accept()
            with stream:
                while block := stream.recv(65536):
                    self.received += len(block)

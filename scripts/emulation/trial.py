"""Boot the enclave image in emulation and use it as a client would.

    scripts/enclave-test [--part NAME]... [--cluster] [--work DIR]

image    builds the image twice, in two directories, and compares the bytes; AWS's own reader reads
         it, unsigned and signed, and refuses what is wrong
devices  boots small machines with 1, 2 and 4 processors, whose kernel finds its devices on its
         command line as in an enclave, and once by ACPI; counts the descriptors of its packets
enclave  boots it with vsock and a security module, puts host_proxy in front, verifies the
         evidence against the measurements, asks questions, kills and reboots it under load
parent   runs host_proxy in a guest of its own, with genuine AF_VSOCK on both sides
paid     boots an image whose model is paid for, with tokens of a real issuer; its spent tokens are
         in a Redis on the host, through a vsock egress. Redis is killed with spends untold and
         started again, and what passed there is searched for what it must not tell (some minutes;
         not a default; needs redis-server)
aws      has the real nitro-cli describe it, built from its crate (ten minutes; not a default)
kernel   builds the kernel from its source once more (some minutes; not a default)
measure  compares the measurements with those of QEMU's nitro-enclave machine (slow; not a default)
cluster  boots two enclaves and a parent between them, by whose host_proxy the second joins the
         first; both serve one list of keys, one is killed, the other goes on (some minutes; not a
         default; --cluster is short for --part cluster)

Ends with PASS and 0, or with FAIL, the reason and 1. Emulation is slow: its times say nothing
about an enclave.
"""

from __future__ import annotations

import argparse
import base64
import concurrent.futures
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import cbor2
import httpx

from oblivious_client.errors import ClientError
from oblivious_client.policy import Policy
from oblivious_client.transport import ObliviousTransport
from scripts.emulation import nitro
from scripts.emulation.cluster_trial import try_cluster
from scripts.emulation.device_trial import check_descriptors, try_machines
from scripts.emulation.emulator import (
    ENCLAVE_CID,
    PARENT_CID,
    SERVER_PORT,
    Emulator,
    EmulatorError,
    connect_vsock,
)
from scripts.emulation.image_trial import (
    RECIPE,
    build_image,
    build_kernel_again,
    compare_builds,
    describe_by_nitro_cli,
    read_by_aws,
    signature,
)
from scripts.emulation.paid_trial import test_paid
from scripts.emulation.parent import start_parent
from scripts.emulation.report import BOOT_SECONDS, Report, TrialFailure
from scripts.emulation.using import MACHINE, Client, boot, host_proxy
from scripts.image import eif
from scripts.image.checkout import REPOSITORY, CheckoutError, refuse_changes
from scripts.image.kernel_build import KernelError
from scripts.image.locks import PackageError
from scripts.image.reader import ReaderError
from scripts.image.recipe import ImageError
from scripts.local.stack import StackError

DEFAULT_PARTS = ("image", "devices", "enclave", "parent")
OTHER_PARTS = ("paid", "aws", "kernel", "measure", "cluster")
LOAD_SECONDS = 120.0  # a quiet machine takes 1; this is for one that is many times slower
PROXY_PORT = 8443


# --- enclave


def test_enclave(work: Path, eif_file: Path, say: Report) -> None:
    """Boot the image, prove it, use it, kill it, and see the clients recover."""
    with Emulator(work, say) as emulator:
        emulator.answer_heartbeat()
        emulator.start_switch()
        enclave = boot(emulator, eif_file, MACHINE, say)
        if not emulator.heard.is_set():
            raise TrialFailure("no heartbeat came")
        with host_proxy(f"vsock-uds:{emulator.vsock}:{SERVER_PORT}") as gateway:
            client = Client(gateway, eif_file, emulator)
            client.verify(say)
            client.ask(say, "chunked")
            client.ask(say, "whole")
            client.refuses_other_code(say)
            with steady_load(gateway, client.policy()) as load:
                load.wait_for_success()
                emulator.kill(enclave)
                say(f"enclave killed under load, after {load.succeeded} sealed requests")
                load.wait_for_failures()
                enclave = boot(emulator, eif_file, MACHINE, say)
                load.wait_for_success()
            say(f"under load: {load.succeeded} requests answered, {load.failed} failed meanwhile")
            client.ask(say, "chunked")
        emulator.stop(enclave)
        check_descriptors(emulator, ENCLAVE_CID, say)


FAILURES = (
    TrialFailure,
    EmulatorError,
    PackageError,
    KernelError,
    ReaderError,
    CheckoutError,
    ImageError,
    StackError,
    OSError,
    subprocess.SubprocessError,
)


class Load:
    """Sealed requests one after the other, counted, of clients that go on as if nothing happened.

    The keys that they sealed to are gone after a reboot: they have to verify the new ones.
    """

    def __init__(self, gateway: str, policy: Policy) -> None:
        self.gateway, self.policy = gateway, policy
        self.succeeded = self.failed = 0
        self.ending = threading.Event()

    def run(self) -> None:
        transport = ObliviousTransport(gateway=self.gateway, policy=self.policy)
        with httpx.Client(transport=transport, timeout=LOAD_SECONDS) as client:
            while not self.ending.is_set():
                try:
                    client.get("https://sealed.invalid/v1/models").raise_for_status()
                    self.succeeded += 1
                except (httpx.HTTPError, ClientError):
                    self.failed += 1
                time.sleep(0.1)

    def wait_for_failures(self) -> None:
        self._wait(lambda: self.failed > 0, "no request failed while the enclave was gone")

    def wait_for_success(self) -> None:
        before = self.succeeded
        self._wait(lambda: self.succeeded >= before + 5, "no request succeeded after the reboot")

    def _wait(self, happened: Callable[[], bool], failure: str) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        while not happened():
            if time.monotonic() > deadline:
                raise TrialFailure(failure)
            time.sleep(0.05)


@contextmanager
def steady_load(gateway: str, policy: Policy) -> Iterator[Load]:
    load = Load(gateway, policy)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        running = [pool.submit(load.run) for _ in range(2)]
        try:
            yield load
        finally:
            load.ending.set()
    for each in running:
        each.result()


# --- parent


def test_parent(work: Path, eif_file: Path, say: Report) -> None:
    """Run host_proxy in a parent instance, where both of its sides are AF_VSOCK."""
    with Emulator(work, say) as emulator:
        switch = [
            *("--guest", f"{PARENT_CID}={emulator.directory / f'vsock{PARENT_CID}.sock'}"),
            *("--unix", f"{PARENT_CID}={emulator.vsock}"),
        ]
        emulator.start_switch(*switch)
        listen, connect = f"vsock://any:{PROXY_PORT}", f"vsock://{ENCLAVE_CID}:{SERVER_PORT}"
        command = ["/usr/bin/python3", "-I", "-B", "-m", "host_proxy"]
        options = ["--listen", listen, "--connect", connect]
        parent = start_parent(emulator, work, [*command, *options])
        emulator.wait_until(
            "parent", parent, lambda: emulator.said("parent", "waits"), BOOT_SECONDS
        )
        say("parent instance booted")
        enclave = boot(emulator, eif_file, MACHINE, say)
        if not emulator.said("parent", f"heartbeat from CID {ENCLAVE_CID}"):
            raise TrialFailure("the parent heard no heartbeat")
        connect_vsock(emulator.vsock, PROXY_PORT).close()
        # this machine reaches the parent's vsock port through the emulator's Unix socket
        with host_proxy(f"vsock-uds:{emulator.vsock}:{PROXY_PORT}") as gateway:
            client = Client(gateway, eif_file, emulator)
            client.verify(say)
            client.ask(say, "chunked")
        for guest, cid in ((enclave, ENCLAVE_CID), (parent, PARENT_CID)):
            emulator.stop(guest)
            check_descriptors(emulator, cid, say)


# --- measure


PRINT_DOCUMENT = (
    "import base64; from enclave_server.security_module.nsm import NitroSecurityModule as Module; "
    "print('DOCUMENT', base64.b64encode(Module().attest(b'u', None, None)).decode(), flush=True)"
)


def compare_measurements(work: Path, say: Report) -> None:
    """Have QEMU's nitro-enclave machine measure an image; the registers must agree.

    The image is built as the real one is, but prints a document instead of serving, because that
    machine's security module signs nothing and the server takes no such evidence. It is signed.
    """
    command = ["/usr/bin/python3", "-I", "-B", "-c", PRINT_DOCUMENT]
    signed = work / "signed.eif"
    recipe = replace(RECIPE, weights=False, command=command)
    sections = build_image(recipe, work, signed, say)
    sections.append(signature(sections))
    signed.write_bytes(eif.encode(sections))
    say("building QEMU's nitro-enclave machine (some minutes, once)")
    program = nitro.build(work)
    with Emulator(work, say) as emulator:
        emulator.answer_heartbeat()
        emulator.start_switch()
        enclave = nitro.start(emulator, program, signed, MACHINE.memory)
        ended = "the application ended"
        emulator.wait_until(
            "enclave", enclave, lambda: emulator.said("enclave", ended), BOOT_SECONDS
        )
        found = re.search(r"DOCUMENT (\S+)", emulator.log("enclave").read_text(errors="replace"))
    if not found:
        raise TrialFailure("the machine gave no document")
    payload = cbor2.loads(cbor2.loads(base64.b64decode(found[1]))[2])
    for name, value in eif.measure(sections).items():
        measured = payload["pcrs"][int(name.removeprefix("PCR"))].hex()
        say(f"{name}  ours {value[:24]}…  QEMU's {measured[:24]}…")
        if measured != value:
            raise TrialFailure(f"{name} differs: ours {value}, QEMU's {measured}")


def main() -> int:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--part", action="append", choices=[*DEFAULT_PARTS, *OTHER_PARTS])
    parser.add_argument("--cluster", dest="part", action="append_const", const="cluster")
    parser.add_argument("--work", type=Path, default=REPOSITORY / ".cache/enclave")
    options = parser.parse_args()
    parts, say = options.part or DEFAULT_PARTS, Report()
    try:
        options.work.mkdir(parents=True, exist_ok=True)
        run(parts, options.work, say)
    except FAILURES as error:
        print(f"FAIL after {time.monotonic() - say.started:.1f} s: {error}", file=sys.stderr)
        return 1
    say(f"PASS: {', '.join(parts)}")
    return 0


OF_THEIR_OWN = {"paid": test_paid, "measure": compare_measurements, "cluster": try_cluster}
"""Parts that boot images which no other part does."""


def run(parts: Sequence[str], work: Path, say: Report) -> None:
    eif_file = work / "tested.eif"
    warn_of_changes(say)
    if {"image", "enclave", "parent", "aws"} & set(parts):
        build_image(RECIPE, work, eif_file, say)
    if "kernel" in parts:
        build_kernel_again(work, say)
    if "image" in parts:
        compare_builds(work, eif_file, say)
        read_by_aws(work, eif_file, say)
    if "aws" in parts:
        describe_by_nitro_cli(work, eif_file, say)
    if "devices" in parts:
        try_machines(work, say)
    if "enclave" in parts:
        test_enclave(work, eif_file, say)
    if "parent" in parts:
        test_parent(work, eif_file, say)
    for part, try_it in OF_THEIR_OWN.items():
        if part in parts:
            try_it(work, say)


def warn_of_changes(say: Report) -> None:
    """Say what of the tree is not as committed: a module that git does not track is not tried."""
    try:
        refuse_changes()
    except CheckoutError as error:
        say(f"WARNING: {error}")


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())

"""What trials do with an enclave: boot it, put a proxy before it, ask it as a client would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from oblivious_client.policy import Policy, read_releases, read_root
from scripts.emulation.emulator import ENCLAVE_CID, Emulator, Machine, enclave_name
from scripts.emulation.report import BOOT_SECONDS, Report, TrialFailure
from scripts.image import eif
from scripts.local.stack import Child, silent

MACHINE = Machine(memory=1536, processors=2)
ASK_SECONDS = 600.0  # a quiet machine takes 22; this is for one that is many times slower
QUESTION = "What is the capital of France?"
PROGRAMS = Path(sys.executable).parent
NOBODY = "65534"


def boot(
    emulator: Emulator, eif_file: Path, machine: Machine, say: Report, cid: int = ENCLAVE_CID
) -> subprocess.Popen[bytes]:
    """Return the process of an enclave that has booted and serves as it should."""
    name = enclave_name(cid)
    enclave = emulator.start_enclave(eif_file, machine, cid)
    emulator.wait_until(
        name, enclave, lambda: emulator.said(name, '"event": "ready"'), BOOT_SECONDS
    )
    if not emulator.said(name, '"platform": "aws-nitro"'):
        raise TrialFailure("the server does not use the security module")
    if not emulator.said(name, f"START as {' '.join([NOBODY] * 6)}\n"):
        raise TrialFailure("the server was not started as nobody, with no other group")
    up = re.search(r"INIT (up .*?)\s*\n", emulator.log(name).read_text(errors="replace"))
    say(f"{name} booted ({up[1] if up else '?'}) and ready, with its security module's evidence")
    return enclave


@contextmanager
def host_proxy(connect: str, *more: str) -> Iterator[str]:
    """Run host_proxy on a free port, with `more` options; give its URL."""
    options = ["--listen", "tcp://127.0.0.1:0", "--connect", connect, *more]
    child = Child("host proxy", [PROGRAMS / "host-proxy", *options], {})
    try:
        child.wait_ready(silent)
        yield child.url
    finally:
        child.stop()


class Client:
    """The installed command line, with the image's measurements pinned and the emulator's root."""

    def __init__(self, gateway: str, eif_file: Path, emulator: Emulator) -> None:
        self.directory = emulator.directory
        self.pcrs = self.directory / "measured.json"
        self.pcrs.write_text(eif.nitro_cli_json(eif.measure(eif.decode(eif_file.read_bytes()))))
        self.root = emulator.nsm_root
        self.options = ["--gateway", gateway, "--root", str(self.root), "--no-cache"]

    def policy(self) -> Policy:
        [pins] = read_releases(self.pcrs)
        return Policy(pcrs=pins, root=read_root(self.root))

    def verify(self, say: Report) -> None:
        started = time.monotonic()
        report = json.loads(self.run("verify", "--pcrs", str(self.pcrs), "--json", "--fresh"))
        pinned = [name for name, pcr in report["pcrs"].items() if pcr["pinned"]]
        say(f"evidence verified in {time.monotonic() - started:.1f} s; pinned: {', '.join(pinned)}")
        if not {"PCR0", "PCR1", "PCR2"} <= set(pinned) or report["platform"] != "aws-nitro":
            raise TrialFailure(f"the evidence says {report}")

    def ask(self, say: Report, framing: str) -> None:
        started = time.monotonic()
        limits = ["--framing", framing, "--max-tokens", "8"]
        answer = self.run("chat", "--pcrs", str(self.pcrs), *limits, QUESTION).strip()
        say(f"answer ({framing}, {time.monotonic() - started:.1f} s): {answer!r}")
        if "Paris" not in answer:
            raise TrialFailure("not the answer")

    def refuses_other_code(self, say: Report) -> None:
        """The same enclave, with the measurements of another image pinned, must be refused."""
        measured = json.loads(self.pcrs.read_text())
        measured["Measurements"]["PCR0"] = "ab" * 48
        other = self.directory / "other.json"
        other.write_text(json.dumps(measured))
        done = self.start("chat", "--pcrs", str(other), QUESTION)
        if done.returncode != 12 or done.stdout:
            raise TrialFailure(f"other code was accepted: {done.returncode} {done.stderr}")
        say("other measurements pinned: refused before anything was sent")

    def run(self, command: str, *options: str) -> str:
        done = self.start(command, *options)
        if done.returncode:
            raise TrialFailure(f"oblivious-client {command}: {done.stderr.strip()[-1500:]}")
        return done.stdout

    def start(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [PROGRAMS / "oblivious-client", *command.split(), *self.options, *options],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=False,
        )

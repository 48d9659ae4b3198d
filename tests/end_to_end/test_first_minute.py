"""README.md pasted block after block into a shell of a user who has nothing yet.

A copy of what is checked in, a home without a file, no environment: what the blocks need, they or
the text beside them have to bring. Four things differ from a real paste: the ports are ones that
are free here, `./scripts/test` is left out (it would run the present test), the file of
measurements, which the text has the reader save, is that of the simulated enclave, and the voucher
is the one that the paid demo printed, which the text has the reader put in its place.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import simulated_pcrs

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
BLOCK_SECONDS = 1500.0  # the first one installs everything, on a machine that may be busy
STAYS_UP = {"./scripts/demo --serve": "until Ctrl-C", "oblivious-client serve": "/v1"}
LEFT_OUT = "./scripts/test"
VOUCHER = re.compile(r"OBL-[A-Z2-7]{26}")
# What says how this machine reaches package registries, and nothing of a user.
KEPT = re.compile(r"PIP_.*|SSL_CERT_.*|https?_proxy|no_proxy|LANG|LC_.*|PATH", re.IGNORECASE)

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Machine:
    """A checkout and a home that are new, and the variables of the second shell."""

    def __init__(self, folder: Path, ends: ExitStack) -> None:
        self.home, self.checkout = folder / "home", folder / "checkout"
        self.home.mkdir()
        self.checkout.mkdir()
        for name in subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT).split(b"\0")[:-1]:
            target = self.checkout / os.fsdecode(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / os.fsdecode(name), target)
        self.ends = ends
        self.ports = {port: str(free_port()) for port in ("8080", "8090", "11435")}
        self.voucher = ""
        kept = {name: value for name, value in os.environ.items() if KEPT.fullmatch(name)}
        self.variables = {**kept, "HOME": str(self.home), "TERM": "dumb"}

    def paste(self, language: str, text: str) -> str:
        """Run a block as it stands, but for the ports; return what it wrote."""
        for stated, free in self.ports.items():
            text = re.sub(rf"\b{stated}\b", free, text)
        text = VOUCHER.sub(self.voucher, text)
        if language == "python":
            return self.run([".venv/bin/python", "-c", text])
        return self.shell("\n".join(line for line in text.split("\n") if line != LEFT_OUT))

    def shell(self, text: str) -> str:
        for command, sign in STAYS_UP.items():
            if command in text:
                return self.keep_up(text, sign)
        after = self.home / "variables"
        written = self.run(["bash", "-euc", f"{text}\nenv -0 > {after}"])
        for entry in after.read_text().split("\0"):
            name, _, value = entry.partition("=")
            if name.startswith(("OBLIVIOUS_", "OPENAI_")):
                self.variables[name] = value
        return written

    def run(self, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self.checkout,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def keep_up(self, text: str, sign: str) -> str:
        """Start what goes on until it is told to stop; return once it says that it is there."""
        if "oblivious-client serve" in text:
            text = f"{text.rstrip()} --listen 127.0.0.1:{self.ports['11435']}"
        log = self.home / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                ["bash", "-euc", f"exec {text.strip()}"],
                cwd=self.checkout,
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.ends.callback(end, process)
        deadline = time.monotonic() + BLOCK_SECONDS
        while sign not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return log.read_text()


def end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait(60)


@contextmanager
def new_machine(folder: Path) -> Iterator[Machine]:
    with ExitStack() as ends:
        yield Machine(folder, ends)


def test_every_block_can_be_pasted_in_order(tmp_path: Path) -> None:
    """Print what each block took, in seconds; `-s` shows it."""
    with new_machine(tmp_path) as machine:
        pins = {f"PCR{i}": value.hex() for i, value in simulated_pcrs().items() if i < 3}
        (machine.checkout / "pcrs.json").write_text(json.dumps({"Measurements": pins}))
        for language, text in BLOCKS:
            begun = time.monotonic()
            written = machine.paste(language, text)
            print(f"{time.monotonic() - begun:8.1f} s  {text.strip().splitlines()[0]}", flush=True)
            if "capital of France" in text:
                assert "Paris" in written
            if stated := re.search(r"demo --serve.* --port (\d+)", text):
                # The next step's line is there to be copied, with the very port.
                assert f"OBLIVIOUS_RELAY=http://127.0.0.1:{machine.ports[stated[1]]}\n" in written
            if "--paid" in text:
                machine.voucher = VOUCHER.findall(written)[0]


def test_what_stays_up_or_is_left_out_is_in_the_document() -> None:
    assert all(any(each in text for _, text in BLOCKS) for each in (*STAYS_UP, LEFT_OUT))

"""A host of one enclave without Nitro: run-enclave beside a stand-in for nitro-cli."""

import contextlib
import json
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support import nitro_cli
from tests.support.enclave_image import write_image
from tests.support.host_proxy_process import until

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "scripts" / "deploy"
CID = 16

# host-proxy as it is; only its way to the enclave leads to the Unix socket of one that is played.
HOST_PROXY = """#!/bin/sh
for word; do
    shift
    case $word in vsock://{cid}:5000) word=unix:{socket} ;; tcp://*) word=tcp://127.0.0.1:0 ;; esac
    set -- "$@" "$word"
done
PYTHONPATH={checkout} exec {python} -m host_proxy "$@"
"""


class EnclaveHost:
    """Programs, an image, and the environment that the unit gives to run-enclave."""

    def __init__(self, directory: Path) -> None:
        self.bin, self.state, self.run = (directory / name for name in ("bin", "state", "run"))
        for path in (self.bin, self.state, self.run):
            path.mkdir()
        self.image = directory / "image.eif"
        write_image(self.image)
        (self.bin / "nitro-cli").symlink_to(Path(nitro_cli.__file__))
        # as often as a test likes to wait
        text = (DEPLOY / "run-enclave").read_text()
        assert text.count("--probe 2 ") == 1
        self.program("run-enclave", text.replace("--probe 2 ", "--probe 0.1 --connect-seconds 1 "))
        self.program(
            "host-proxy",
            HOST_PROXY.format(
                cid=CID,
                socket=self.state / "enclave.sock",
                checkout=shlex.quote(str(CHECKOUT)),
                python=shlex.quote(sys.executable),
            ),
        )

    def program(self, name: str, text: str) -> Path:
        """Put a program where those of the host are."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)
        return self.bin / name

    def environment(self) -> dict[str, str]:
        """Return what the unit, and a machine without Nitro, put into the environment."""
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "STATE": str(self.state),
            "ENCLAVE_IMAGE": str(self.image),
        }

    def settings(self) -> dict[str, str]:
        """Return what stands in the unit itself."""
        return {
            "ENCLAVE_NAME": "oblivious-inference",
            "ENCLAVE_CID": str(CID),
            "ENCLAVE_CPUS": "2",
            "ENCLAVE_MIB": "2048",
            "ENCLAVE_METRICS": "tcp://127.0.0.1:9102",
            "RUNTIME_DIRECTORY": str(self.run),
        }

    def misbehave(self, how: str) -> None:
        """Have the stand-in misbehave in one of the ways that it tells of."""
        (self.state / how).touch()

    def asked(self) -> list[str]:
        """Return the commands that nitro-cli was given."""
        path = self.state / "nitro-cli-calls"
        calls = path.read_text().splitlines() if path.exists() else []
        return [call for call in calls if call != "be-enclave"]

    def enclave(self) -> dict[str, object] | None:
        """Return the enclave that runs."""
        try:
            found: dict[str, object] = json.loads((self.state / "enclave.json").read_text())
        except (OSError, ValueError):
            return None
        return found

    def await_enclave(self, other_than: object = None) -> dict[str, object]:
        """Return the enclave when one runs, another than the one of that process number."""
        found: list[dict[str, object]] = []

        def one() -> bool:
            enclave = self.enclave()
            if enclave is not None and enclave["ProcessID"] != other_than:
                found.append(enclave)
            return bool(found)

        until(one)
        return found[0]

    def end_enclave(self) -> None:
        """Be an enclave that ends of itself."""
        enclave = self.enclave()
        if enclave is not None:
            process = int(str(enclave["ProcessID"]))
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
                # Until then its socket takes connections, which end with it.
                while has_files(process):
                    time.sleep(0.005)


def has_files(process: int) -> bool:
    """Say whether a process has not ended yet; one that nobody has waited for has."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def hosts(directory: Path) -> Iterator[EnclaveHost]:
    """Yield a host, and end its enclave."""
    host = EnclaveHost(directory)
    try:
        yield host
    finally:
        host.end_enclave()

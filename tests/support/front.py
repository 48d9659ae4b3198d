"""A real HAProxy with the front's configuration as it is deployed, and host-proxy beside it."""

import contextlib
import hashlib
import http.client
import os
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from protocol.key_config import KeyConfig, decode_key_configs
from scripts.local.front import configuration
from scripts.local.processes import served_at
from scripts.local.stack import Child, silent
from tests.support.enclave import Answer, exchange, stand_in_config
from tests.support.haproxy import haproxy
from tests.support.host_proxy_process import DEADLINE, ProxyProcess, running, until

RELEASE = ["-m", "enclave_server"]
OTHER_RELEASE = """
import hashlib, sys
from enclave_server.security_module import simulated
release = sys.argv.pop(1)
simulated.simulated_pcrs = lambda: measured(release)
def measured(release):
    return {n: hashlib.sha384(f"{release} {n}".encode()).digest() if n < 5 else bytes(48)
            for n in range(16)}
from enclave_server.cli import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A running front."""

    port: int
    folder: Path
    agent: ProxyProcess

    @property
    def url(self) -> str:
        """Where relays come."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        """Return a connection that is kept between requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)

    def request(
        self, method: str, target: str, body: bytes | None = None, media_type: str | None = None
    ) -> Answer:
        """Return the answer to one request on a connection of its own."""
        with contextlib.closing(self.connect()) as connection:
            headers = {} if media_type is None else {"content-type": media_type}
            return exchange(connection, method, target, body, headers)

    def send(self, sealed: bytes, media_type: str = "message/ohttp-req") -> Answer:
        """Return the answer to a sealed request."""
        return self.request("POST", "/v1/ohttp", sealed, media_type)

    def runtime(self, command: str) -> str:
        """Return what HAProxy says to a command."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.folder / "oblivious.sock"))
            sock.sendall(command.encode() + b"\n")
            return b"".join(iter(lambda: sock.recv(1 << 16), b"")).decode()

    def places(self) -> dict[str, str]:
        """Return HAProxy's map as it is."""
        lines = self.runtime(f"show map {self.folder}/oblivious-keys.map").splitlines()
        return {line.split()[1]: line.split()[2] for line in lines if line.strip()}

    def set_state(self, number: int, state: str) -> None:
        """Have the operator set the `number`th server to ready, drain or maint."""
        assert not self.runtime(
            f"set server oblivious_members/enclave{number} state {state}"
        ).strip()

    def round(self, count: int = 2) -> None:
        """Wait until so many rounds have been done: one was begun after whatever went before."""
        first = self.rounds()
        until(lambda: self.rounds() >= first + count)

    def rounds(self) -> int:
        """Return how many rounds there have been."""
        seen = len(self.agent.events("counters"))
        self.agent.signal(signal.SIGUSR1)
        return int(self.agent.event("counters", seen + 1)["rounds"])


@contextlib.contextmanager
def fronted(*members: str, pause: float = 0.1) -> Iterator[Front]:
    """Run the front before enclaves at these places, its map filled."""
    folder = Path(tempfile.mkdtemp(prefix="oi-front-"))  # short enough for a Unix socket
    (folder / "oblivious-keys.map").touch()
    options = ("--front", f"unix:{folder}/oblivious.sock", "--front-seconds", str(pause))
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            haproxy(folder, listener, configuration(folder, f"fd@{listener.fileno()}", members)),
        ):
            until((folder / "oblivious.sock").is_socket)
            with running(*options, "--metrics", "tcp://127.0.0.1:0") as agent:
                agent.event("ready")
                yield Front(listener.getsockname()[1], folder, agent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(slots=True)
class Member:
    """An enclave server on a port of its own, which can be killed and started again there."""

    config: str = stand_in_config("unix:/nonexistent")
    place: str = ""  # HOST:PORT
    release: str = ""  # another one than the default has other measurements
    child: Child | None = None

    def start(self) -> None:
        """Start it, with keys of its own."""
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as settings:
            settings.write(self.config)
            settings.flush()
            address = f"tcp://{self.place or '127.0.0.1:0'}"
            program = ["-c", OTHER_RELEASE, self.release] if self.release else RELEASE
            command = [sys.executable, *program, "--listen", address]
            command += ["--config", settings.name, "--simulated-nsm"]
            self.child = Child("enclave server", command, {})
            self.child.wait_ready(silent)
        self.place = served_at(self.child).removeprefix("tcp://")

    def kill(self) -> None:
        """End it as a crash does, workers and all."""
        if self.child is not None:
            os.killpg(self.child.process.pid, signal.SIGKILL)
            self.child.stop()

    def stop(self) -> None:
        """End it in order."""
        if self.child is not None:
            self.child.stop()

    def request(self, method: str, target: str) -> Answer:
        """Return its answer without the front."""
        host, _, port = self.place.partition(":")
        with contextlib.closing(
            http.client.HTTPConnection(host, int(port), DEADLINE)
        ) as connection:
            return exchange(connection, method, target)

    def configs(self) -> list[KeyConfig]:
        """Return its key configurations, newest first."""
        return decode_key_configs(self.request("GET", "/.well-known/ohttp-gateway").body)


def measurements(release: str) -> dict[int, bytes]:
    """Return PCR0 to PCR2 of a release that is not the default one."""
    return {n: hashlib.sha384(f"{release} {n}".encode()).digest() for n in range(3)}


@contextlib.contextmanager
def members(count: int, config: str | None = None) -> Iterator[list[Member]]:
    """Run enclaves that know nothing of each other, and whose key identifiers do not meet."""
    with contextlib.ExitStack() as ends:
        started: list[Member] = []
        taken: set[int] = set()
        while len(started) < count:
            member = Member() if config is None else Member(config)
            member.start()
            ends.callback(member.stop)
            identifiers = {key.key_id for key in member.configs()}
            if taken.isdisjoint(identifiers):
                started.append(member)
            taken |= identifiers
        yield started

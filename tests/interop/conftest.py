"""Drivers, gateways and the stack, each started once; the matrix at the end of the run."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from protocol.kem import X25519_HKDF_SHA256, Kem
from scripts.local.stack import Child, Stack
from tests.interop.peers import (
    BLIND_RSA_PEER,
    HPKE_PEER,
    NOTE_PEER,
    PEERS,
    RUST_TOKEN_PEER,
    TOKEN_PEER,
    Command,
    DriverClient,
    Peer,
    driver_gateway,
)
from tests.interop.report import Report
from tests.interop.sealing import fetched

REPORT_PATH = "INTEROP_REPORT"
"""Names the environment variable that says where the document is to be written."""

KEYS = "/.well-known/ohttp-gateway"

UNPADDED = """
[stream]
padding = "off"  # five million octets would take minutes by the clock
"""

REPORT = pytest.StashKey[Report]()

_ALONE = (HPKE_PEER, BLIND_RSA_PEER, NOTE_PEER, TOKEN_PEER, RUST_TOKEN_PEER)
_BY_NAME = {peer.name: peer for peer in (*PEERS, *_ALONE)}


class Drivers:
    """The drivers of the peers, each built and started when it is first asked for."""

    def __init__(self, ends: ExitStack) -> None:
        self._ends = ends
        self._commands: dict[str, Command] = {}
        self._clients: dict[str, DriverClient] = {}
        self._gateways: dict[tuple[str, int], str] = {}

    def command(self, name: str) -> tuple[Peer, Command]:
        """Return the command of a driver; skips where it cannot be built."""
        peer = _BY_NAME[name]
        if peer.missing:
            pytest.skip(f"interop: {peer.missing} not installed, so {peer.what} is not built")
        if name not in self._commands:
            self._commands[name] = peer.build()
        return peer, self._commands[name]

    def client(self, name: str) -> DriverClient:
        """Return a driver that runs as client."""
        _, command = self.command(name)
        if name not in self._clients:
            self._clients[name] = self._ends.enter_context(DriverClient(command))
        return self._clients[name]

    def gateway(self, name: str, kem: Kem = X25519_HKDF_SHA256) -> str:
        """Return the URL of a driver that runs as gateway, with a key of one mechanism."""
        peer, command = self.command(name)
        started = (name, kem.code)
        if started not in self._gateways:
            running = driver_gateway(peer, command, kem)
            self._gateways[started] = self._ends.enter_context(running)
        return self._gateways[started]


@pytest.fixture(scope="session")
def drivers() -> Iterator[Drivers]:
    """The drivers of the peers."""
    with ExitStack() as ends:
        yield Drivers(ends)


class EchoStack(Stack):
    """The whole path, with an echo in the place of the chat service."""

    def start_server(self) -> Child:
        """Start the enclave server that echoes."""
        program = Path(__file__).with_name("echo_server.py")
        options = ["--listen", self.enclave, "--simulated-nsm", *self.server_options]
        return self.launch("echoing enclave server", [sys.executable, program, *options])


@pytest.fixture(scope="session")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the relay before a gateway that echoes."""
    config = tmp_path_factory.mktemp("interop") / "config.toml"
    config.write_text(UNPADDED)
    with EchoStack(server_options=["--config", config]) as stack:
        yield stack.relay


@pytest.fixture(scope="session")
def keys(relay: str) -> bytes:
    """The list of key configurations as the relay serves it."""
    return fetched(relay + KEYS)


@pytest.fixture(scope="session")
def report(request: pytest.FixtureRequest) -> Report:
    """The outcomes of this run."""
    return request.config.stash.setdefault(REPORT, Report())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the matrix, and write the document if it is wanted."""
    found = config.stash.get(REPORT, None)
    if found is None or not found.outcomes:
        return
    terminalreporter.section("interop: peer, its role, framing, Binary HTTP: outcome")
    for line in found.lines():
        terminalreporter.write_line(line)
    terminalreporter.write_line(found.counts())
    if path := os.environ.get(REPORT_PATH):
        Path(path).write_text(found.markdown())

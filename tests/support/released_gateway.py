"""A stand-in gateway that runs a release, and a user who trusts its builders."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import cli
from oblivious_client.releases.statements import Release
from oblivious_client.releases.trust import DAY_SECONDS
from tests.support.gateway import MODEL, StandInGateway
from tests.support.releases import TRUST, Log, note, release

RELEASES = "/.well-known/oblivious-inference/releases.json"
MEASURED = {index: simulated_pcrs()[index] for index in range(3)}

START = int(time.time())

Run = Callable[..., "Outcome"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str


def begun(sequence: int, **more: object) -> Release:
    """Return a release that began some days ago; the first runs on the stand-in."""
    members = {"valid_from": START - (10 - sequence) * DAY_SECONDS, **more}
    return release(sequence, **members)


def running(sequence: int, **more: object) -> Release:
    """Return a release of what runs on the stand-in."""
    return begun(sequence, pcrs=MEASURED, **more)


def listed(*releases: Release) -> Log:
    """Return a list of releases."""
    return Log(TRUST).add(*map(note, releases))


@dataclass(slots=True)
class User:
    """Runs commands with a cache of his own, against one gateway."""

    gateway: StandInGateway
    run: Run
    trust: Path

    def publish(self, log: Log, days: float = 1) -> None:
        """Have the relay serve a list that witnesses saw some days ago."""
        served = log.served(int(time.time() - days * DAY_SECONDS))
        self.gateway.files[RELEASES] = served

    def __call__(self, command: str, *arguments: object) -> Outcome:
        """Run a command through the relay."""
        words = command.split()
        where = ["--relay", self.gateway.url, "--allow-simulated", "--trust", self.trust]
        return self.run(*words, *arguments, *where)

    def asked(self) -> list[str]:
        """Return the paths that arrived."""
        return [arrived.path for arrived in self.gateway.arrived]


@pytest.fixture
def user(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[User]:
    """A user."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OBLIVIOUS_MODEL", MODEL)
    for name in ("RELAY", "GATEWAY", "PCRS", "TRUST"):
        monkeypatch.delenv(f"OBLIVIOUS_{name}", raising=False)

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        code = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    trust = tmp_path / "trust.json"
    trust.write_bytes(TRUST.encode_file())
    with StandInGateway() as gateway:
        yield User(gateway, run, trust)

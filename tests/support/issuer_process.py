"""`token-issuer serve` in processes of its own, and keys and vouchers for it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from protocol.token_catalogue import CatalogueKey, Epoch
from protocol.token_prices import PricePoint
from token_issuer import cli
from token_issuer.key_files import make_receipt_key, read_keys, write_key
from token_issuer.key_plan import DAY, new_keys

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120.0
"""Seconds after which a test fails rather than hang."""


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass(slots=True)
class IssuerFiles:
    """A configuration, with keys that sign today."""

    directory: Path
    database: str
    workers: int = 2
    more: str = ""
    port: int = field(default_factory=free_port)
    metrics_port: int = field(default_factory=free_port)

    @property
    def settings(self) -> Path:
        """Return the configuration's path."""
        return self.directory / "issuer.toml"

    @property
    def keys(self) -> Path:
        """Return the directory of its keys."""
        return self.directory / "keys"

    def write(self) -> None:
        """Write it, and make keys for the price points c1 and c4."""
        self.settings.write_text(
            f"database = {json.dumps(self.database)}\n"
            f"keys = {json.dumps(str(self.keys))}\n"
            f'listen = "127.0.0.1:{self.port}"\n'
            f'metrics = "127.0.0.1:{self.metrics_port}"\n'
            f"workers = {self.workers}\n"
            "tokens_per_minute = 10000000\n" + self.more
        )
        today = int(time.time()) // DAY * DAY
        epoch = Epoch(today - DAY, today + 2 * DAY, today + 4 * DAY)
        for each in new_keys([], [epoch], [PricePoint(1), PricePoint(4)]):
            write_key(self.keys, each.entry, each.private)
        make_receipt_key(self.keys)

    def key(self, price: int) -> CatalogueKey:
        """Return the public half of the key for a price."""
        stored = read_keys(self.keys)
        return next(each.entry for each in stored if each.entry.price.units == price)

    def run(self, *words: str) -> int:
        """Run another command of `token-issuer` here; its output goes where this process's goes."""
        return cli.main(["--config", str(self.settings), *words])


class IssuerProcess:
    """A running issuer."""

    def __init__(self, files: IssuerFiles) -> None:
        self.files = files
        self.url = f"http://127.0.0.1:{files.port}"
        self.metrics_url = f"http://127.0.0.1:{files.metrics_port}"
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, "-m", "token_issuer", "--config", str(files.settings), "serve"],
            stderr=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Return the parent's number."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Return the numbers of the processes that answer."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(number) for number in children.split()]

    def all_workers(self) -> list[int]:
        """Wait until as many answer as are configured, and return their numbers."""
        end = time.monotonic() + DEADLINE
        while len(found := self.workers()) != self.files.workers:
            assert time.monotonic() < end, self.lines
            time.sleep(0.02)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return the exit code."""
        code = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def await_line(self, part: str) -> None:
        """Wait until it has written a line with this in it."""
        deadline = time.monotonic() + DEADLINE
        while not any(part in line for line in self.lines):
            assert self._process.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def await_ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + DEADLINE
        while True:
            assert self._process.poll() is None, self.lines
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/", timeout=DEADLINE).status_code == 200:
                    return
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def end(self) -> None:
        """End it, however it is."""
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(DEADLINE)
        if self._process.poll() is None:
            for worker in self.workers():
                os.kill(worker, signal.SIGKILL)
            self._process.kill()
        self.wait()

    def _read(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with stderr:
            self.lines.extend(iter(stderr.readline, ""))


@contextlib.contextmanager
def running_issuer(files: IssuerFiles) -> Iterator[IssuerProcess]:
    """Run an issuer until the block ends."""
    process = IssuerProcess(files)
    try:
        process.await_ready()
        yield process
    finally:
        process.end()

"""Debian's redis-server, started for a test on a Unix socket and a loopback port."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest

START_SECONDS = 60.0
NAME = "redis-server"


@dataclass(frozen=True, slots=True)
class RedisServer:
    """A server that runs: the addresses at which it is asked, and its folder."""

    unix: str
    tcp: str
    folder: Path

    def command(self, *words: str | bytes) -> bytes:
        """Return what the server replies to one command, as it stands on the wire."""
        parts = [word.encode() if isinstance(word, str) else word for word in words]
        data = b"*%d\r\n" % len(parts)
        data += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(START_SECONDS)
            client.connect(self.unix.removeprefix("unix:"))
            client.sendall(data)
            return client.recv(1 << 20)

    def count(self) -> int:
        """Return how many keys there are."""
        return int(self.command("DBSIZE")[1:])


@contextlib.contextmanager
def redis_server(folder: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server that writes into `folder` alone."""
    if which(NAME) is None:
        pytest.skip(f"{NAME} is not here")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = folder / "redis.sock"
    command = [NAME, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", str(path)]
    command += ["--dir", str(folder), "--save", "", "--loglevel", "warning", *options]
    server = RedisServer(f"unix:{path}", f"tcp://127.0.0.1:{port}", folder)
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait(server)
        yield server
    finally:
        process.terminate()
        process.wait()


def _wait(server: RedisServer) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            if server.command("PING") == b"+PONG\r\n":
                return
        time.sleep(0.01)
    raise AssertionError("redis-server did not start")

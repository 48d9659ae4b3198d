"""A host proxy in a process of its own, and plain peers for it to stand between."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DEADLINE = 120.0  # seconds until a test that hangs fails
# Between two signals to end. A process whose coverage is counted writes down what it ran when all
# else has ended, and a second signal would break that off.
PATIENCE = 2.0 if "COVERAGE_PROCESS_CONFIG" in os.environ else 0.02

Json = dict[str, Any]


class ProxyProcess:
    """`host-proxy` with the given options; its log lines as they come."""

    def __init__(
        self, *options: str, environment: dict[str, str] | None = None, program: str = ""
    ) -> None:
        command = [sys.executable, "-c", program] if program else [sys.executable, "-m"]
        self._process = subprocess.Popen(
            [*command, *([] if program else ["host_proxy"]), *options],
            stderr=subprocess.PIPE,
            env={**os.environ, **(environment or {})},
            cwd=Path(__file__).parents[2],
        )
        self.lines: list[str] = []
        self._over = False  # nothing more will be logged
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ports(self) -> list[int]:
        """Wait until it is ready; the ports of its TCP listeners in the order of the options."""
        self.event("ready")
        addresses = [e["address"] for e in self.events("listening")]
        return [int(a.rpartition(":")[2]) for a in addresses if a.startswith("tcp://")]

    def events(self, name: str) -> list[Json]:
        parsed = [json.loads(line) for line in self.lines if line.startswith("{")]
        return [event for event in parsed if event["event"] == name]

    def event(self, name: str, count: int = 1) -> Json:
        """Wait for the `count`th event of a name."""
        with self._news:
            self._news.wait_for(lambda: self._over or len(self.events(name)) >= count, DEADLINE)
        events = self.events(name)
        assert len(events) >= count, f"no {name} in {self.lines}"
        return events[count - 1]

    def counters(self) -> Json:
        """Ask for the counters by SIGUSR1; those of the first route."""
        seen = len(self.events("counters"))
        self.signal(signal.SIGUSR1)
        first: Json = self.event("counters", seen + 1)["routes"][0]
        return first

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self) -> int:
        code = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return code

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        for _ in range(2):  # the second signal ends what is still open
            if self._process.poll() is None:
                self.signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(PATIENCE)
        try:
            self.wait()
        finally:
            self._process.kill()
        if self._process.stderr is not None:
            self._process.stderr.close()

    def _read(self) -> None:
        if self._process.stderr is None:
            return
        for line in self._process.stderr:
            with self._news:
                self.lines.append(line.decode().rstrip())
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()


@contextlib.contextmanager
def running(*options: str, **more: Any) -> Iterator[ProxyProcess]:
    proxy = ProxyProcess(*options, **more)
    try:
        yield proxy
    except BaseException:
        proxy.kill()  # the test has failed: whether it would end is of no interest any more
        raise
    finally:
        proxy.close()


def listen_unix(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(DEADLINE)
    listener.bind(str(path))
    listener.listen(64)
    return listener


def listen_tcp() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(DEADLINE)
    return listener


def accept(listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(DEADLINE)
    return sock


def connect_tcp(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE)


def connect_unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(str(path))
    sock.settimeout(DEADLINE)  # before, it would turn a full queue into an error
    return sock


def read_all(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def read_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, f"ended after {len(data)} of {size} bytes"
        data += piece
    return bytes(data)


def in_background(job: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=job, daemon=True)
    thread.start()
    return thread


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process brings about."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def ingress(directory: Path, *more: str) -> tuple[str, ...]:
    """Return the options of a proxy from a TCP port to the Unix socket `up` in `directory`."""
    return ("--listen", "tcp://127.0.0.1:0", "--connect", f"unix:{directory / 'up'}", *more)


def connected(proxy: ProxyProcess, upstream: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection through a proxy: the client's, the upstream's."""
    return connect_tcp(proxy.ports()[0]), accept(upstream)

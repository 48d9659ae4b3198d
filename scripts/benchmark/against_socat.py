#!/usr/bin/env python3
"""host_proxy against socat, interleaved in one run: speed, CPU time, memory.

Both stand between TCP clients and an upstream on a Unix socket, as on the enclave's host between
the front and the machine monitor's vsock socket. All share one core. Every row gives host_proxy,
the best of socat's settings for that row, and the ratio of their medians.

    scripts/benchmark/against_socat.py [--quick] [--json]
"""

import argparse
import contextlib
import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TURN_BYTES: Final = 8192
CHUNK_BYTES: Final = 1 << 18
CROWD: Final = 32
READY_SECONDS: Final = 10.0
ROOT: Final = Path(__file__).resolve().parents[2]
SOCAT_BLOCKS: Final = (8192, 65536, 262144)  # its default, and larger ones in fairness


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured; the medians are over `rounds`."""

    rounds: int
    bulk_bytes: int
    turns: int
    idle_connections: int


QUICK: Final = Effort(rounds=7, bulk_bytes=32 << 20, turns=200, idle_connections=200)
FULL: Final = Effort(rounds=41, bulk_bytes=64 << 20, turns=400, idle_connections=1000)


@dataclass(frozen=True, slots=True)
class Contender:
    """A running proxy."""

    name: str
    pid: int
    port: int

    def cpu_seconds(self) -> float:
        """Return the CPU time of the process and its children so far."""
        return sum(_cpu_seconds(pid) for pid in (self.pid, *_children(self.pid)))

    def memory_bytes(self) -> int:
        """Return the memory of the process and its children, shared pages counted in part."""
        return sum(_memory_bytes(pid) for pid in (self.pid, *_children(self.pid)))


Job = Callable[[list[socket.socket]], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of load: `amount` units of `unit` are moved by each call of `job`."""

    name: str
    mode: bytes
    connections: int
    amount: float
    unit: str
    cpu_scale: float  # from CPU seconds for one unit to `cpu_unit`
    cpu_unit: str
    job: Job


def measure(effort: Effort) -> dict[str, Any]:
    """Return all rows as a JSON-able dictionary; FileNotFoundError without socat."""
    if shutil.which("socat") is None:
        raise FileNotFoundError("socat is not installed: apt-get install socat")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory) / "upstream"
        with on_one_core(), running_upstream(path), contextlib.ExitStack() as stack:
            proxy = stack.enter_context(running_host_proxy(path))
            socats = [stack.enter_context(running_socat(path, size)) for size in SOCAT_BLOCKS]
            memory = compare_memory(proxy, socats[0], effort.idle_connections)
            rows = [compare(row, proxy, socats, effort.rounds) for row in load(effort)]
    return {"rows": rows, "memory": memory, "rounds": effort.rounds}


def load(effort: Effort) -> list[Row]:
    """Return the kinds of load."""
    gigabytes = effort.bulk_bytes / 1e9

    def bulk(name: str, mode: bytes, job: Callable[[socket.socket, int], None]) -> Row:
        def move(socks: list[socket.socket]) -> None:
            job(socks[0], effort.bulk_bytes)

        return Row(name, mode, 1, gigabytes, "GB/s", 1, "s/GB", move)

    def turns(name: str, connections: int) -> Row:
        count = max(1, effort.turns // connections)

        def take(socks: list[socket.socket]) -> None:
            take_turns(socks, count)

        amount = count * connections
        return Row(name, b"t", connections, amount, "turns/s", 1e6, "µs/turn", take)

    return [
        bulk("bulk, client to upstream", b"u", upload),
        bulk("bulk, upstream to client", b"d", download),
        turns("8 KiB turns, 1 connection", 1),
        turns(f"8 KiB turns, {CROWD} connections", CROWD),
    ]


def compare(row: Row, proxy: Contender, socats: list[Contender], rounds: int) -> dict[str, Any]:
    """Return the medians of one row, the contenders taking turns."""
    samples: dict[str, list[tuple[float, float]]] = {}
    contenders = [proxy, *socats]
    with contextlib.ExitStack() as stack:
        opened = {
            c.name: [stack.enter_context(_open(c.port, row.mode)) for _ in range(row.connections)]
            for c in contenders
        }
        for number in range(rounds + 1):
            for contender in contenders:
                sample = _sample(row, contender, opened[contender.name])
                if number:  # the first warms up
                    samples.setdefault(contender.name, []).append(sample)
    return summary(row, proxy, socats, samples)


def _sample(row: Row, contender: Contender, socks: list[socket.socket]) -> tuple[float, float]:
    """Return units in a second, and CPU time for one unit."""
    cpu, begun = contender.cpu_seconds(), time.perf_counter()
    row.job(socks)
    seconds = time.perf_counter() - begun
    return row.amount / seconds, (contender.cpu_seconds() - cpu) / row.amount * row.cpu_scale


def summary(
    row: Row,
    proxy: Contender,
    socats: list[Contender],
    samples: dict[str, list[tuple[float, float]]],
) -> dict[str, Any]:
    """Return the medians and how host_proxy stands to the best of socat's."""
    speed = {name: statistics.median(s for s, _ in taken) for name, taken in samples.items()}
    cpu = {name: statistics.median(c for _, c in taken) for name, taken in samples.items()}
    fastest = max((s.name for s in socats), key=speed.__getitem__)
    thriftiest = min((s.name for s in socats), key=cpu.__getitem__)
    return {
        "row": row.name,
        "unit": row.unit,
        "speed": speed,
        "fastest_socat": fastest,
        "speed_ratio": speed[proxy.name] / speed[fastest],
        "cpu_unit": row.cpu_unit,
        "cpu": cpu,
        "thriftiest_socat": thriftiest,
        "cpu_ratio": cpu[proxy.name] / cpu[thriftiest],
    }


def compare_memory(proxy: Contender, socat: Contender, connections: int) -> dict[str, Any]:
    """Return the memory that an idle connection takes in the proxy's processes, in bytes."""
    few = max(1, connections // 20)  # socat forks for each
    return {
        "unit": "bytes per idle connection",
        "host_proxy": _idle_bytes(proxy, connections),
        "socat": _idle_bytes(socat, few),
    }


def _idle_bytes(contender: Contender, connections: int) -> float:
    before = contender.memory_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(connections):
            stack.enter_context(_open(contender.port, b"t"))
        time.sleep(0.5)
        return (contender.memory_bytes() - before) / connections


def upload(sock: socket.socket, size: int) -> None:
    """Send `size` bytes and wait until the upstream has them."""
    chunk = bytes(CHUNK_BYTES)
    sock.sendall(size.to_bytes(8, "big"))
    for _ in range(size // CHUNK_BYTES):
        sock.sendall(chunk)
    sock.recv(1)


def download(sock: socket.socket, size: int) -> None:
    """Ask for `size` bytes and read them."""
    buffer = bytearray(CHUNK_BYTES)
    sock.sendall(size.to_bytes(8, "big"))
    while size:
        size -= sock.recv_into(buffer)


def take_turns(socks: list[socket.socket], count: int) -> None:
    """Send 8 KiB on every connection and read 8 KiB from every one, `count` times."""
    message = bytes(TURN_BYTES)
    buffer = memoryview(bytearray(TURN_BYTES))
    for _ in range(count):
        for sock in socks:
            sock.sendall(message)
        for sock in socks:
            received = 0
            while received < TURN_BYTES:
                received += sock.recv_into(buffer[received:])


class Upstream:
    """Serves the three modes that a connection's first byte chooses."""

    def __init__(self, path: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(4096)
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._epoll = select.epoll()
        self._turns: dict[int, tuple[socket.socket, int]] = {}

    def serve(self) -> None:
        """Serve until killed."""
        threading.Thread(target=self._serve_turns, daemon=True).start()
        while True:
            sock, _ = self._listener.accept()
            threading.Thread(target=self._serve_one, args=(sock,), daemon=True).start()

    def _serve_one(self, sock: socket.socket) -> None:
        mode = sock.recv(1)
        if mode == b"t":
            self._turns[sock.fileno()] = (sock, 0)
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            return
        with sock:
            while header := sock.recv(8, socket.MSG_WAITALL):
                (self._take if mode == b"u" else self._give)(sock, int.from_bytes(header, "big"))

    def _take(self, sock: socket.socket, size: int) -> None:
        while size:
            size -= sock.recv_into(self._buffer[: min(size, CHUNK_BYTES)])
        sock.sendall(b"k")

    def _give(self, sock: socket.socket, size: int) -> None:
        for _ in range(size // CHUNK_BYTES):
            sock.sendall(self._buffer)

    def _serve_turns(self) -> None:
        buffer = memoryview(bytearray(TURN_BYTES))
        while True:
            for fd, _ in self._epoll.poll():
                sock, received = self._turns[fd]
                size = sock.recv_into(buffer[received:])
                received = (received + size) % TURN_BYTES
                self._turns[fd] = (sock, received)
                if not size:
                    del self._turns[fd]
                    sock.close()
                elif not received:
                    sock.sendall(buffer)


@contextlib.contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and what it starts, on one core.

    Waking a process on another core costs more than the proxy's own work. Left to the scheduler,
    who shares a core with whom changes in the middle of a run, and decides the medians.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def running_upstream(path: Path) -> Iterator[None]:
    """Run the upstream in a process of its own."""
    with _process(sys.executable, __file__, "--upstream", str(path)):
        _wait_until(path.exists)
        yield


@contextlib.contextmanager
def running_host_proxy(
    path: Path, name: str = "host_proxy", program: tuple[str, str] = ("-m", "host_proxy")
) -> Iterator[Contender]:
    """Run host_proxy, or a program that changes it first, before the upstream."""
    options = ("--listen", "tcp://127.0.0.1:0", "--connect", f"unix:{path}")
    with _process(sys.executable, *program, *options) as process:
        yield Contender(name, process.pid, _port(process, rb"tcp://127\.0\.0\.1:(\d+)"))


@contextlib.contextmanager
def running_socat(path: Path, block: int) -> Iterator[Contender]:
    """Run socat before the upstream."""
    options = "bind=127.0.0.1,reuseaddr,fork,nodelay,backlog=4096"
    command = ("-d", "-d", "-b", str(block), f"TCP-LISTEN:0,{options}", f"UNIX-CONNECT:{path}")
    with _process("socat", *command) as process:
        port = _port(process, rb"listening on .*127\.0\.0\.1:(\d+)")
        yield Contender(f"socat -b {block}", process.pid, port)


@contextlib.contextmanager
def _process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT) as process:
        try:
            yield process
        finally:
            for pid in _children(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 15)
            process.kill()


def _port(process: subprocess.Popen[bytes], pattern: bytes) -> int:
    """Return the port that a proxy reports, and go on emptying its standard error."""
    if process.stderr is None:
        raise RuntimeError("the proxy's standard error is not a pipe")
    for line in process.stderr:
        if found := re.search(pattern, line):
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return int(found[1])
    raise RuntimeError("a proxy ended before it listened")


def _open(port: int, mode: bytes) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), READY_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(None)
    sock.sendall(mode)
    return sock


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the upstream did not start")
        time.sleep(0.01)


def _children(pid: int) -> list[int]:
    try:
        return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _cpu_seconds(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except FileNotFoundError:
        return 0.0  # a child that has ended in between


def _memory_bytes(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE)
    return 1024 * int(found[1]) if found else 0


def table(result: dict[str, Any]) -> str:
    """Return the rows as text."""
    lines = [f"{'':34}{'host_proxy':>12}{'best socat':>12}{'ratio':>8}"]
    for row in result["rows"]:
        for figure, best in (("speed", "fastest_socat"), ("cpu", "thriftiest_socat")):
            unit = row["unit" if figure == "speed" else "cpu_unit"]
            mine, other = row[figure]["host_proxy"], row[figure][row[best]]
            name = row["row"] if figure == "speed" else "  CPU"
            ratio = row[f"{figure}_ratio"]
            lines.append(f"{name:34}{mine:12.4g}{other:12.4g}{ratio:8.2f}  {unit} ({row[best]})")
    memory = result["memory"]
    mine, other = memory["host_proxy"], memory["socat"]
    name, ratio = "memory of an idle connection", mine / other
    lines.append(f"{name:34}{mine:12.4g}{other:12.4g}{ratio:8.3f}  bytes")
    return "\n".join(lines)


def main() -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description="Measure host_proxy against socat.")
    parser.add_argument("--quick", action="store_true", help="about ten seconds, less steady")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--upstream", metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        Upstream(options.upstream).serve()
    try:
        result = measure(QUICK if options.quick else FULL)
    except FileNotFoundError as error:
        sys.stderr.write(f"bench_proxy: {error}\n")
        return 1
    sys.stdout.write((json.dumps(result, indent=2) if options.json else table(result)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What a paid request costs more than the same one unpaid: one run, round by round in turns."""

from __future__ import annotations

import shutil
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from protocol.binary_http import Request, encode_request
from protocol.encapsulation import encapsulate_request
from protocol.key_config import KeyConfig
from protocol.padding import pad
from protocol.registry import OHTTP_REQUEST
from scripts.benchmark import server
from scripts.local import processes
from scripts.local.gateway import KEYS_PATH, newest_key
from scripts.local.mint import Mint, budgets_toml, epochs_around
from scripts.local.stack import Child

CONNECTIONS = 32
ROUNDS = 7
REDIS = "redis-server"
START_SECONDS = 30.0
CAPACITY = 1 << 16
BUCKET_BYTES = 2048  # of all, so that they differ in what is inside alone
PATH = b"/v1/chat/completions"
Fields = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Till:
    """A server under load, and what pays for a request to it."""

    title: str
    child: Child
    address: str
    pay: Callable[[], Fields]


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return what requests cost; the row of Redis is left out where there is none."""
    mint = Mint(epochs_around(time.time()))
    count = 400 if quick else 4000
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        tables = {"unpaid": "", "paid, memory": mint.toml(capacity=str(CAPACITY))}
        if (program := shutil.which(REDIS)) is not None:
            address = stack.enter_context(_redis(program, folder))
            tables["paid, Redis"] = mint.toml(store="'redis'", store_address=f"'unix:{address}'")
        tills = [
            stack.enter_context(_till(folder, title, table, lambda: (mint.field(),)))
            for title, table in tables.items()
        ]
        return _in_turns(tills, folder, count)


def _in_turns(tills: list[Till], folder: Path, count: int) -> dict[str, dict[str, float]]:
    measured: dict[str, list[dict[str, float]]] = {till.title: [] for till in tills}
    for number in range(ROUNDS + 1):
        for till in tills:
            row = _one_round(till, folder, count)
            if number:  # the first is for the caches
                measured[till.title].append(row)
    unpaid = [row["server CPU µs"] for row in measured[tills[0].title]]
    found = {}
    for title, rounds in measured.items():
        medians = {name: statistics.median(row[name] for row in rounds) for name in rounds[0]}
        more = [row["server CPU µs"] - base for row, base in zip(rounds, unpaid, strict=True)]
        found[f"whole chat path, {title}"] = {
            **medians,
            "more than unpaid µs": statistics.median(more),
        }
    return found


@contextmanager
def _till(folder: Path, title: str, tokens: str, pay: Callable[[], Fields]) -> Iterator[Till]:
    place = folder / title.replace(" ", "-")
    place.mkdir()
    upstream, address = place / "up.sock", f"unix:{place / 's'}"
    model, rest = server.CONFIGURATION.format(socket=upstream).split("[upstreams", 1)
    budgets = budgets_toml() if tokens else ""
    (place / "c.toml").write_text(f"{tokens}{model}{budgets}[upstreams{rest}")
    asked = [sys.executable, "-m", "scripts.benchmark.instant_upstream", str(upstream)]
    options = ["--listen", address, "--config", str(place / "c.toml"), "--simulated-nsm"]
    command = [sys.executable, "-m", "enclave_server", *options]
    with (
        processes.running("instant upstream", asked),
        processes.running("enclave server", command) as child,
    ):
        yield Till(title, child, address, pay if tokens else lambda: ())


@contextmanager
def _redis(program: str, folder: Path) -> Iterator[str]:
    """Run Redis as operators do, with its file; give its socket's path."""
    path = folder / "redis.sock"
    command = [program, "--port", "0", "--unixsocket", str(path), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
    child = Child("redis", command, {})
    try:
        _wait_for(path)
        yield str(path)
    finally:
        child.stop()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(0.02)
    raise RuntimeError("redis-server did not start")


def _one_round(till: Till, folder: Path, count: int) -> dict[str, float]:
    file = folder / "requests"
    config = newest_key(till.address, KEYS_PATH, None)
    server.write_requests(file, count, lambda: _post(config, till.pay()))
    processes.settle()
    pid = till.child.process.pid
    before = processes.cpu_seconds(pid)
    result = server.load(till.address, file, CONNECTIONS)
    used = processes.cpu_seconds(pid) - before
    return {
        "server CPU µs": 1e6 * used / count,
        "requests/s": count / result["seconds"],
        "median ms": result["median_ms"],
    }


def _post(config: KeyConfig, fields: Fields) -> bytes:
    """Return a whole HTTP/1.1 request around a sealed question that these fields pay for."""
    headers = (
        (b"content-type", b"application/json"),
        (b"date", formatdate(usegmt=True).encode()),
        *fields,
    )
    inner = Request(b"POST", b"https", b"gateway.example", PATH, headers, server.QUESTION_BODY)
    plaintext = pad(encode_request(inner)).ljust(BUCKET_BYTES, b"\0")
    body = encapsulate_request(config, plaintext)[0]
    head = (
        f"POST /v1/ohttp HTTP/1.1\r\nHost: gateway\r\nContent-Type: {OHTTP_REQUEST.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

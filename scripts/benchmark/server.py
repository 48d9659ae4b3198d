"""The server under load: CPU per request and requests per second, by number of connections."""

from __future__ import annotations

import json
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from protocol.binary_http import Request, encode_request
from protocol.encapsulation import encapsulate_request
from protocol.kem import Kem
from protocol.key_config import KeyConfig
from protocol.registry import OHTTP_REQUEST
from scripts.benchmark import floor
from scripts.local import processes
from scripts.local.gateway import KEYS_PATH, connect, newest_key
from scripts.local.stack import ROOT, Child

CONNECTIONS = (1, 32, 512)
ROUNDS = 5
WARM_UP = 16_000  # requests; each of the first touches a page of the replay memory that none has
FLOOR = f"floor{floor.X_WING_ROW}"  # clients take the newest key of X-Wing
QUESTION = {"model": "instant", "messages": [{"role": "user", "content": "x" * 800}]}
QUESTION_BODY = json.dumps(QUESTION).encode()
CONFIGURATION = """
[[models]]
name = "instant"
upstream = "instant"
[upstreams.instant]
address = "unix:{socket}"
"""


def no_fields() -> str:
    """Return what a relay adds that sends the same head again and again."""
    return ""


def fields_of_a_cdn() -> str:
    """Return two field lines that are new in each request, as CDNs add them."""
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    return f"CF-Ray: {secrets.token_hex(8)}-FRA\r\nTraceparent: 00-{trace}-{parent}-01\r\n"


@dataclass(frozen=True, slots=True)
class Target:
    """A running server, the address under load, and what it is asked."""

    title: str
    server: Child
    address: str
    path: bytes
    proxy_pid: int = 0
    keys: str = KEYS_PATH
    kem: Kem | None = None  # that requests are sealed with, or the one that clients take
    fields: Callable[[], str] = no_fields


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table; the crypto floor is measured beside every round."""
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        gateway = stack.enter_context(gateway_alone(folder))
        signed = stack.enter_context(chat(folder))
        differing = replace(
            gateway, title="gateway alone, every head different", fields=fields_of_a_cdn
        )
        through = stack.enter_context(proxied(gateway))
        one_round(gateway, 32, folder, 400 if quick else WARM_UP)
        sealed = (gateway, differing, through)
        for target, counts in (*((each, CONNECTIONS) for each in sealed), (signed, (32,))):
            for connections in counts:
                row = _measure(target, connections, folder, 400 if quick else 4000)
                found[f"{target.title}, {connections} connections"] = row
    return found


@contextmanager
def gateway_alone(folder: Path, checkout: Path = ROOT) -> Iterator[Target]:
    address = f"unix:{folder / 'gateway.sock'}"
    configuration = folder / "alone.toml"  # so that no engine runs; its upstream is never asked
    configuration.write_text(CONFIGURATION.format(socket=folder / "nobody.sock"))
    options = ["--listen", address, "--config", str(configuration), "--simulated-nsm"]
    command = program("scripts.benchmark.instant_server", checkout)
    with processes.running("enclave server", [*command, *options]) as child:
        yield Target("gateway alone, Unix socket", child, address, b"/v1/models")


def program(module: str, checkout: Path) -> Sequence[str]:
    """Return the command that runs a module of a checkout with this interpreter."""
    return ("/usr/bin/env", f"--chdir={checkout}", sys.executable, "-m", module)


@contextmanager
def chat(folder: Path, checkout: Path = ROOT) -> Iterator[Target]:
    upstream = folder / "upstream.sock"
    configuration = folder / "config.toml"
    configuration.write_text(CONFIGURATION.format(socket=upstream))
    address = f"unix:{folder / 'chat.sock'}"
    asked = [sys.executable, "-m", "scripts.benchmark.instant_upstream", str(upstream)]
    with processes.running("instant upstream", asked):
        options = ["--listen", address, "--config", str(configuration), "--simulated-nsm"]
        command = program("enclave_server", checkout)
        with processes.running("enclave server", [*command, *options]) as child:
            yield Target("whole chat path, signed", child, address, b"/v1/chat/completions")


@contextmanager
def proxied(target: Target) -> Iterator[Target]:
    command = [sys.executable, "-m", "host_proxy", "--listen", "tcp://127.0.0.1:0"]
    with processes.running("host proxy", [*command, "--connect", target.address]) as child:
        address = processes.listening(child)
        yield Target(
            "gateway alone, host_proxy", target.server, address, target.path, child.process.pid
        )


def _measure(target: Target, connections: int, folder: Path, count: int) -> dict[str, float]:
    """Return the medians of a few rounds, each compared with the floor of its own moment.

    A shared machine's speed drifts within a run by more than what is to be shown.
    """
    rounds = []
    for _ in range(ROUNDS):
        before = floor.measure()[FLOOR]
        row = one_round(target, connections, folder, count)
        limit = (before + floor.measure()[FLOOR]) / 2
        rounds.append({**row, "times the floor": row["server CPU µs"] / limit})
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def one_round(target: Target, connections: int, folder: Path, count: int) -> dict[str, float]:
    """Seal `count` requests, send them all; return what they cost and how long they took."""
    file = folder / "requests"
    config = newest_key(target.address, target.keys, target.kem)
    write_requests(file, count, lambda: sealed_post(config, target.path, target.fields()))
    processes.settle()
    pid = target.server.process.pid
    before = processes.cpu_seconds(pid)
    result = load(target.address, file, connections)
    used = processes.cpu_seconds(pid) - before
    return {
        "server CPU µs": 1e6 * used / count,
        "requests/s": count / result["seconds"],
        "median ms": result["median_ms"],
        "99 % ms": result["p99_ms"],
    }


def load(address: str, requests: Path, connections: int) -> dict[str, float]:
    """Run the load program to its end and return what it measured."""
    command = [sys.executable, "-m", "scripts.benchmark.load", address, str(requests)]
    done = subprocess.run(
        [*command, str(connections)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"the load failed: {done.stderr}")
    result: dict[str, float] = json.loads(done.stdout)
    if result["failed"] or result["unanswered"]:
        raise RuntimeError(f"the load failed: {result}")
    return result


def write_requests(file: Path, count: int, make: Callable[[], bytes]) -> None:
    """Write requests as the load program reads them, each sealed anew."""
    with file.open("wb") as out:
        for _ in range(count):
            request = make()
            out.write(len(request).to_bytes(4) + request)


def sealed_post(config: KeyConfig, path: bytes, fields: str = "") -> bytes:
    """Return a whole HTTP/1.1 request around a sealed inner request of 1 KiB."""
    headers = (
        (b"content-type", b"application/json"),
        (b"date", formatdate(usegmt=True).encode()),
    )
    method = b"GET" if path == b"/v1/models" else b"POST"
    content = b"" if method == b"GET" else QUESTION_BODY
    inner = Request(method, b"https", b"gateway.example", path, headers, content)
    plaintext = encode_request(inner).ljust(floor.REQUEST_BYTES, b"\0")
    body = encapsulate_request(config, plaintext)[0]
    head = (
        f"POST /v1/ohttp HTTP/1.1\r\nHost: gateway\r\nContent-Type: {OHTTP_REQUEST.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n{fields}\r\n"
    )
    return head.encode() + body


def hold(address: str, count: int) -> list[socket.socket]:
    """Open `count` connections, each of which has been answered once and stays open."""
    request = b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n"
    held = []
    for _ in range(count):
        stream = connect(address)
        stream.settimeout(10)
        stream.sendall(request)
        stream.recv(4096)
        held.append(stream)
    return held

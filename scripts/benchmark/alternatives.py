"""The whole signed chat path, and a padded stream, beside what one would run instead.

All stand in front of the same upstream, a stand-in that answers at once, or with fifty events in
a second, and take turns under the same load in one run, each with one worker or one thread. Ours
opens, checks, signs, pads and seals. None of the others seals or signs anything: LiteLLM's proxy
reads and writes what passes, as ours does; nginx and a small proxy in Go hand on octets.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from oblivious_client.exchange import inner_request
from oblivious_client.sealing import Framing, seal
from protocol.key_config import KeyConfig
from scripts.benchmark import other_programs, server
from scripts.local import processes
from scripts.local.gateway import newest_key
from scripts.local.stack import Child

CONNECTIONS, ROUNDS = 32, 3
PATH = "/v1/chat/completions"
STREAMED = json.dumps({**server.QUESTION, "stream": True}).encode()
QUESTIONS = {"a request": server.QUESTION_BODY, "a stream of 50 events": STREAMED}
CONFIGURATION = """
[[models]]
name = "instant"
upstream = "instant"
[upstreams.instant]
address = "{upstream}"
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """A running program, and how it is asked."""

    title: str
    child: Child
    address: str
    count: int  # of requests in a round: the slowest gets fewer
    config: KeyConfig | None = None  # what questions are sealed to, if they are
    fields: str = ""  # lines that each request needs


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the medians of every contender's rounds."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        command = [sys.executable, "-m", "scripts.benchmark.word_upstream"]
        upstream = stack.enter_context(processes.running("upstream", command))
        place = processes.listening(upstream).removeprefix("tcp://")
        contenders = [stack.enter_context(each) for each in _contenders(folder, place)]
        found: dict[str, list[dict[str, float]]] = {}
        for number in range(ROUNDS + 1):
            for kind, question in QUESTIONS.items():
                for contender in contenders:
                    row = _one_round(contender, question, folder, quick)
                    if number:  # the first warms up
                        found.setdefault(f"{kind}, {contender.title}", []).append(row)
    return {
        title: {name: statistics.median(row[name] for row in taken) for name in taken[0]}
        for title, taken in sorted(found.items())
    }


def _one_round(
    contender: Contender, question: bytes, folder: Path, quick: bool
) -> dict[str, float]:
    count = 2 * CONNECTIONS if quick or question is STREAMED else contender.count
    file = folder / "questions"
    server.write_requests(file, count, lambda: _asked(contender, question))
    processes.settle()
    pid = contender.child.process.pid
    before = processes.cpu_seconds(pid)
    result = server.load(contender.address, file, CONNECTIONS)
    used = processes.cpu_seconds(pid) - before
    return {
        "server CPU µs": 1e6 * used / count,
        "a second": count / result["seconds"],
        "median ms": result["median_ms"],
        "99 % ms": result["p99_ms"],
        "memory MiB": processes.memory_kib(pid) / 1024,
    }


def _contenders(folder: Path, upstream: str) -> Iterator[AbstractContextManager[Contender]]:
    yield _ours(folder, upstream)
    for program, count in (
        (other_programs.litellm(folder, upstream), 200),
        (other_programs.nginx(folder, upstream), 4000),
        (other_programs.go_proxy(upstream), 4000),
    ):
        yield _other(program, count)


@contextmanager
def _ours(folder: Path, upstream: str) -> Iterator[Contender]:
    configuration = folder / "ours.toml"
    configuration.write_text(CONFIGURATION.format(upstream=f"tcp://{upstream}"))
    command = [sys.executable, "-m", "enclave_server", "--listen", "tcp://127.0.0.1:0"]
    command += ["--config", str(configuration), "--simulated-nsm"]
    with processes.running("enclave server", command) as child:
        address = processes.served_at(child)
        config = newest_key(address)
        yield Contender("ours: sealed, signed, padded", child, address, 1000, config)


@contextmanager
def _other(program: other_programs.Program, count: int) -> Iterator[Contender]:
    with program.running() as child:
        title = f"{program.title}: no seal, no signature"
        address = f"tcp://{program.place}"
        yield Contender(title, child, address, count, fields=program.fields)


def _asked(contender: Contender, question: bytes) -> bytes:
    """Return a whole HTTP/1.1 request: sealed for ours, as it is for the others."""
    if contender.config is None:
        return _post(PATH, "application/json", contender.fields, question)
    inner = inner_request("POST", PATH.encode(), question, now=time.time())
    framing = Framing.CHUNKED if question is STREAMED else Framing.WHOLE
    sealed = b"".join(seal(contender.config, inner, framing).pieces)
    return _post("/v1/ohttp", framing.request_type, "", sealed)


def _post(path: str, media_type: str, fields: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: gateway\r\nContent-Type: {media_type}\r\n"
        f"Content-Length: {len(body)}\r\n{fields}\r\n"
    )
    return head.encode() + body

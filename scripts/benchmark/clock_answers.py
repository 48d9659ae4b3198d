"""The clock of the streams while a provider says something large: by how much a tick is late.

Beside an event of 4 MiB, and beside the end of an answer of 15 MB over `/v1/responses`. Ticks are
shorter and chunks larger than those of the defaults, so that the end comes in this minute.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from oblivious_client.exchange import inner_request
from oblivious_client.sealing import Framing, seal
from protocol.key_config import KeyConfig
from scripts.benchmark.streaming import Listener, newest_key
from scripts.local import processes
from scripts.local.gateway import connect
from scripts.observer.watching import sealed_post

STREAMS, EVENTS = 5, 5
TICK_SECONDS = 0.01
SETTLE_SECONDS = 1.0
QUIET_SECONDS = 3.0

CONFIGURATION = """
[stream]
tick_milliseconds = 10
chunk_bytes = 16384
[[models]]
name = "scripted"
upstream = "steady"
[[models]]
name = "event"
upstream = "large"
[[models]]
name = "answer"
upstream = "large"
[upstreams.steady]
address = "unix:{folder}/steady.sock"
[upstreams.large]
address = "unix:{folder}/large.sock"
"""

CHAT = {"model": "event", "stream": True, "messages": [{"role": "user", "content": "Say much."}]}
ITEMS = {"model": "answer", "stream": True, "input": "Say much."}
ANSWERS = {
    "a 4 MiB event of a provider": ("/v1/chat/completions", CHAT, 4.0),
    "the end of a 15 MB answer": ("/v1/responses", ITEMS, 16.0),
}
"""Each with its path, what is asked, and the seconds until all that is large about it is over."""


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        program = [sys.executable, "-m"]
        for upstream, more in (("steady", [str(EVENTS)]), ("large", [])):
            command = [f"scripts.benchmark.{upstream}_upstream", f"{folder}/{upstream}.sock", *more]
            stack.enter_context(processes.running(f"{upstream} upstream", [*program, *command]))
        configuration = folder / "server.toml"
        configuration.write_text(CONFIGURATION.format(folder=folder))
        command = ["enclave_server", "--listen", "tcp://127.0.0.1:0", "--simulated-nsm"]
        command += ["--config", str(configuration)]
        child = stack.enter_context(processes.running("enclave server", [*program, *command]))
        listener = stack.enter_context(contextlib.closing(Listener()))
        config, address = newest_key(child), processes.served_at(child)
        for number in range(STREAMS):
            listener.add(address, sealed_post(config, f"k/{number}", [], b"/v1/ohttp")[0])
        listener.listen(SETTLE_SECONDS)
        return {
            f"beside {name}": _row(listener, address, config, answer, 2 if quick else 7)
            for name, answer in ANSWERS.items()
        }


def _row(
    listener: Listener,
    address: str,
    config: KeyConfig,
    answer: tuple[str, dict[str, object], float],
    rounds: int,
) -> dict[str, float]:
    path, asked, seconds = answer
    longer = []
    for _ in range(rounds):
        quiet = _longest(listener, QUIET_SECONDS)
        with _asking(address, _sealed(config, path, asked), listener):
            busy = _longest(listener, seconds)
        longer.append(1000 * (busy - quiet))
        listener.listen(SETTLE_SECONDS)
    return {"tick longer by, median ms": statistics.median(longer), "worst ms": max(longer)}


def _longest(listener: Listener, seconds: float) -> float:
    listener.forget()
    listener.listen(seconds)
    return listener.jitters(TICK_SECONDS)[-1]


def _sealed(config: KeyConfig, path: str, asked: dict[str, object]) -> bytes:
    body = json.dumps(asked).encode()
    inner = inner_request("POST", path.encode(), body, now=time.time())
    content = b"".join(seal(config, inner, Framing.CHUNKED).pieces)
    head = (
        "POST /v1/ohttp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Content-Type: {Framing.CHUNKED.request_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@contextlib.contextmanager
def _asking(address: str, request: bytes, listener: Listener) -> Iterator[None]:
    """Have one more stream listened to, whose own times do not count; then hang up."""
    with connect(address) as stream:
        stream.sendall(request)
        stream.setblocking(False)
        with listener.beside(stream):
            yield

"""The clock of the streams while somebody else asks a large question: by how much a tick is late.

Streams are listened to in turns with and without a large request to the same worker; times are the
kernel's. What counts is how much longer the longest time between two chunks is with it.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from enclave_server.config import StreamTable
from oblivious_client.exchange import inner_request
from oblivious_client.sealing import Framing, seal
from protocol.key_config import KeyConfig
from scripts.benchmark import clock_answers
from scripts.benchmark.streaming import Listener, newest_key, serving
from scripts.local import processes
from scripts.local.gateway import connect
from scripts.observer.watching import sealed_post

STREAMS, EVENTS = 20, 5
WINDOW_SECONDS = 1.2
SETTLE_SECONDS = 1.0
ANSWER_SECONDS = 60.0  # in which a large question must have been answered
MIB = 1 << 20

CHAT, PROMPTS = b"/v1/chat/completions", b"/v1/completions"


def said(content: str) -> bytes:
    """Return a conversation whose one message has this content, as it stands in JSON."""
    return b'{"model":"scripted","messages":[{"role":"user","content":%b}]}' % content.encode()


def questions(quick: bool) -> dict[str, tuple[bytes, bytes]]:
    """Return large questions, each with its path: the largest that are taken, and some refused."""
    text = (1 if quick else 7) * MIB
    whole = (2 if quick else 19) * MIB
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * whole}}
    lists = b",".join([b"[1]"] * 120_000)
    return {
        "text": (CHAT, said(f'"{"x" * text}"')),
        "escaped text": (CHAT, said('"' + "\\n" * (text // 2) + '"')),
        "an image": (CHAT, said(json.dumps([image]))),
        "lists of tokens": (PROMPTS, b'{"model":"scripted","prompt":[' + lists + b"]}"),
        "integers of 4,299 digits": (
            PROMPTS,
            b'{"model":"scripted","prompt":[' + b",".join([b"9" * 4299] * (whole // 4300)) + b"]}",
        ),
        "too much text": (CHAT, said(f'"{"x" * whole}"')),
    }


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table."""
    return _question_rows(quick) | clock_answers.rows(quick)


def _question_rows(quick: bool) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        upstream = folder / "up.sock"
        command = [sys.executable, "-m", "scripts.benchmark.steady_upstream", str(upstream)]
        with (
            processes.running("steady upstream", [*command, str(EVENTS)]),
            serving(folder, upstream, "on") as child,
            contextlib.closing(Listener()) as listener,
        ):
            config, address = newest_key(child), processes.served_at(child)
            for number in range(STREAMS):
                listener.add(address, sealed_post(config, f"k/{number}", [], b"/v1/ohttp")[0])
            listener.listen(SETTLE_SECONDS)
            rounds = 3 if quick else 15
            return {
                f"beside {name}, {framing.name.lower()}": _row(
                    listener, address, config, framing, question, rounds
                )
                for name, question in questions(quick).items()
                for framing in Framing
            }


def _row(
    listener: Listener,
    address: str,
    config: KeyConfig,
    framing: Framing,
    question: tuple[bytes, bytes],
    rounds: int,
) -> dict[str, float]:
    longer, seconds = [], []
    for _ in range(rounds):
        request = _sealed(config, framing, *question)
        quiet = _longest(listener)
        with _asking(address, request) as took:
            busy = _longest(listener, took)
        longer.append(1000 * (busy - quiet))
        seconds += took
    return {
        "tick longer by, median ms": statistics.median(longer),
        "worst ms": max(longer),
        "answered after, median ms": 1000 * statistics.median(seconds),
    }


def _longest(listener: Listener, answered: Sequence[float] = (0.0,)) -> float:
    """Return by how much the longest time between two chunks differed from a tick, in seconds.

    Listens for a window, and on until the large question is `answered`, and for some ticks more.
    """
    listener.forget()
    listener.listen(WINDOW_SECONDS)
    end = time.monotonic() + ANSWER_SECONDS
    while not answered and time.monotonic() < end:
        listener.listen(0.1)
    listener.listen(SETTLE_SECONDS / 2)
    return listener.jitters(StreamTable().tick_milliseconds / 1000)[-1]


def _sealed(config: KeyConfig, framing: Framing, path: bytes, body: bytes) -> bytes:
    """Return a whole HTTP request."""
    sealed = seal(config, inner_request("POST", path, body, now=time.time()), framing)
    content = b"".join(sealed.pieces)
    head = (
        "POST /v1/ohttp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        f"Content-Type: {framing.request_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


@contextlib.contextmanager
def _asking(address: str, request: bytes) -> Iterator[list[float]]:
    """Ask meanwhile; then note the seconds until the first octet of the answer."""
    took: list[float] = []

    def ask() -> None:
        with connect(address) as stream:
            begun = time.perf_counter()
            stream.sendall(request)
            stream.recv(1)
            took.append(time.perf_counter() - begun)
            while stream.recv(1 << 16):
                pass

    # It never ends by itself where the upstream goes on for ever.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    yield took

"""Streams: what padding adds to the delay of words, what a chunk costs, a thousand at once.

The upstreams are stand-ins, named as such; the one that is asked directly and the one behind the
server are the same process. Delays are from the question to the word, in one run, by turns.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import random
import resource
import selectors
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from enclave_server.config import StreamTable
from oblivious_client.exchange import content_in
from oblivious_client.sealing import AnswerReader
from protocol.key_config import KeyConfig
from scripts.benchmark.certificates import NAME, Certified, certify
from scripts.local import gateway, processes
from scripts.local.gateway import connect
from scripts.local.stack import Child
from scripts.observer.watching import SO_TIMESTAMPNS, TIMESPEC, sealed_post

WORDS, SPACING_SECONDS, FIRST_SECONDS = 20, 0.04, 0.3
SETTLE_SECONDS = 3.0  # until all streams have begun, and what that took is over
MOMENTS = random.SystemRandom()
OPEN_FILES = 16_384
CHUNK_OVERHEAD = 26  # octets around a plaintext: tag, length, transfer coding
LOADS = ((1000, 0), (1000, 5), (1000, 10), (1000, 20))
"""Streams, and events a second in each; at none the cost is that of the chunks alone."""

EVENTS_OVER_TLS = 5  # of the load that is measured with an upstream over TLS too

CONFIGURATION = """
[limits]
connections = 2000
requests = 2000
[stream]
padding = "{padding}"
[[models]]
name = "scripted"
upstream = "scripted"
[upstreams.scripted]
address = "unix:{socket}"
{trust}
"""
TRUST = """
host_name = "{name}"
ca_file = "{file}"
"""


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the rows of the table."""
    _raise_limit()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        found = _delays(Path(name), 5 if quick else 25)
    for streams, events in LOADS[:2] if quick else LOADS:
        count = streams // 5 if quick else streams
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            title = f"{count:,} streams, {events} events/s each"
            found[title] = _many(Path(name), count, events, 2.0 if quick else 6.0)
            if events == EVENTS_OVER_TLS:
                files = certify(Path(name))
                tls = _many(Path(name), count, events, 2.0 if quick else 6.0, files)
                found[f"{title}, upstream over TLS"] = tls
    return found


def _raise_limit() -> None:
    """Let this process, and those it starts, open a file for every stream and its upstream."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


@contextlib.contextmanager
def serving(
    folder: Path, upstream: Path, padding: str, files: Certified | None = None
) -> Iterator[Child]:
    """Run a server whose upstream is asked over TLS if there are `files` of its certificate."""
    configuration = folder / f"{padding}.toml"
    trust = "" if files is None else TRUST.format(name=NAME, file=files.authority)
    configuration.write_text(CONFIGURATION.format(padding=padding, socket=upstream, trust=trust))
    command = [sys.executable, "-m", "enclave_server", "--listen", "tcp://127.0.0.1:0"]
    command += ["--simulated-nsm", "--config", str(configuration)]
    with processes.running("enclave server", command) as child:
        yield child


# Delays of words.


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds from the question to each word."""

    words: tuple[float, ...]


def _delays(folder: Path, rounds: int) -> dict[str, dict[str, float]]:
    upstream, script = folder / "up.sock", folder / "scripts.json"
    words = [[SPACING_SECONDS, f"<{number}>"] for number in range(WORDS)]
    words[0][0] = FIRST_SECONDS
    script.write_text(json.dumps({"words": words}))
    command = [sys.executable, "-m", "scripts.local.scripted_upstream", str(upstream), str(script)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(processes.running("scripted upstream", command))
        ways = {
            f"padding {padding}": stack.enter_context(serving(folder, upstream, padding))
            for padding in ("on", "off")
        }
        configs = {name: newest_key(child) for name, child in ways.items()}
        direct: list[Heard] = []
        heard: dict[str, list[Heard]] = {name: [] for name in ways}
        for _ in range(rounds):
            direct.append(_ask_directly(upstream))
            for name, child in ways.items():
                time.sleep(MOMENTS.uniform(0.0, 0.2))  # to ask at any moment between two ticks
                heard[name].append(_ask_sealed(processes.served_at(child), configs[name]))
        return {f"added by the server, {name}": _added(heard[name], direct) for name in ways}


def newest_key(child: Child) -> KeyConfig:
    """Return the key that a server seals to."""
    return gateway.newest_key(processes.served_at(child))


def _added(heard: list[Heard], direct: list[Heard]) -> dict[str, float]:
    """Return by how much words came later than from the upstream itself."""
    usual = [statistics.median(words) for words in zip(*(h.words for h in direct), strict=True)]
    first = sorted(each.words[0] - usual[0] for each in heard)
    later = [
        word - base for each in heard for word, base in zip(each.words[1:], usual[1:], strict=True)
    ]
    return {
        "first word, ms": 1000 * statistics.median(first),
        "first word, worst ms": 1000 * first[-1],
        "each later word, ms": 1000 * statistics.median(later),
    }


def _ask_directly(upstream: Path) -> Heard:
    connection = http.client.HTTPConnection("upstream")
    connection.sock = connect(f"unix:{upstream}")
    question = {"messages": [{"role": "user", "content": "words"}], "stream": True}
    with contextlib.closing(connection):
        asked = time.perf_counter()
        connection.request("POST", "/v1/chat/completions", json.dumps(question).encode())
        answer = connection.getresponse()
        return _listen(asked, iter(lambda: answer.read1(1 << 16), b""))


def _ask_sealed(address: str, config: KeyConfig) -> Heard:
    request, reader = sealed_post(config, "words", [], b"/v1/ohttp")
    with connect(address) as stream:
        asked = time.perf_counter()
        stream.sendall(request)
        answer = http.client.HTTPResponse(stream)
        answer.begin()
        return _listen(asked, _opened(answer, reader))


def _opened(answer: http.client.HTTPResponse, reader: AnswerReader) -> Iterator[bytes]:
    while sealed := answer.read1(1 << 16):
        yield content_in(reader.feed(sealed))
    yield content_in(reader.finish())


def _listen(asked: float, pieces: Iterator[bytes]) -> Heard:
    """Return when each word came; what comes after the last one is read, and not waited for."""
    text = b""
    times: list[float] = []
    for piece in pieces:
        text += piece
        now = time.perf_counter() - asked
        while b"<%d>" % len(times) in text:
            times.append(now)
        if len(times) == WORDS:
            return Heard(tuple(times))
    raise RuntimeError("a word was lost")


# Many at once.


class Listener:
    """Clients that read what comes, and note the kernel's times of arrival."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.arrivals: dict[socket.socket, list[float]] = {}
        self.octets = 0

    def add(self, address: str, request: bytes) -> None:
        """Ask one more question."""
        stream = connect(address)
        stream.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        stream.sendall(request)
        stream.setblocking(False)
        self.arrivals[stream] = []
        self.selector.register(stream, selectors.EVENT_READ)

    def listen(self, seconds: float) -> None:
        """Read for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for ready, _ in self.selector.select(0.01):
                stream = ready.fileobj
                if not isinstance(stream, socket.socket):
                    continue
                if ready.data is None:
                    self._read(stream)
                elif not stream.recv(1 << 16):
                    raise ConnectionError("the server closed a stream")

    def _read(self, stream: socket.socket) -> None:
        data, notes, _, _ = stream.recvmsg(1 << 16, 256)
        if not data:
            raise ConnectionError("the server closed a stream")
        whole, fraction = TIMESPEC.unpack(notes[0][2])
        self.arrivals[stream].append(whole + fraction / 1e9)
        self.octets += len(data)

    @contextlib.contextmanager
    def beside(self, stream: socket.socket) -> Iterator[None]:
        """Read what comes on one more stream, without its times."""
        self.selector.register(stream, selectors.EVENT_READ, data="beside")
        try:
            yield
        finally:
            self.selector.unregister(stream)

    def forget(self) -> None:
        """Begin to count anew."""
        self.octets = 0
        for times in self.arrivals.values():
            times.clear()

    def jitters(self, tick: float) -> list[float]:
        """Return by how much the time between two chunks differed from a tick, sorted."""
        return sorted(
            abs(after - before - tick)
            for times in self.arrivals.values()
            for before, after in itertools.pairwise(times)
        )

    def close(self) -> None:
        """Leave."""
        for stream in self.arrivals:
            stream.close()
        self.selector.close()


def _many(
    folder: Path, streams: int, events: int, seconds: float, files: Certified | None = None
) -> dict[str, float]:
    upstream = folder / "up.sock"
    command = [
        sys.executable,
        "-m",
        "scripts.benchmark.steady_upstream",
        str(upstream),
        str(events),
    ]
    command += [] if files is None else [str(files.server)]
    with (
        processes.running("steady upstream", command),
        serving(folder, upstream, "on", files) as child,
        contextlib.closing(Listener()) as listener,
    ):
        config, address, pid = newest_key(child), processes.served_at(child), child.process.pid
        before = processes.memory_kib(pid)
        for number in range(streams):
            listener.add(address, sealed_post(config, f"k/{number}", [], b"/v1/ohttp")[0])
            if number % 20 == 0:
                listener.listen(0.01)
        listener.listen(SETTLE_SECONDS)
        listener.forget()
        used, begun = processes.cpu_seconds(pid), time.monotonic()
        listener.listen(seconds)
        used, elapsed = processes.cpu_seconds(pid) - used, time.monotonic() - begun
        kib = (processes.memory_kib(pid) - before) / streams
    return _summary(listener, used, elapsed, kib)


def _summary(listener: Listener, used: float, elapsed: float, kib: float) -> dict[str, float]:
    stream = StreamTable()
    tick = stream.tick_milliseconds / 1000
    chunks = listener.octets / (stream.chunk_bytes + CHUNK_OVERHEAD)
    jitters = listener.jitters(tick)
    return {
        "server CPU µs a chunk": 1e6 * used / chunks,
        "server CPU %": 100 * used / elapsed,
        "chunks/s": chunks / elapsed,
        "KiB a stream": kib,
        "jitter, median ms": 1000 * statistics.median(jitters),
        "jitter, 99 % ms": 1000 * jitters[len(jitters) * 99 // 100],
    }

"""The observer: what passes from relay to clients, each piece with the kernel's time of arrival.

The kernel notes the time when a segment comes in, so that neither this program nor its being busy
blurs what it sees: a better place than most observers have.
"""

from __future__ import annotations

import selectors
import socket
import struct
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from oblivious_client.exchange import content_in, head_in, inner_request
from oblivious_client.sealing import AnswerReader, Framing, seal
from protocol.key_config import KeyConfig
from protocol.slots import place_of
from scripts.observer import payments
from scripts.observer.answers import Script, first_gap, is_streamed
from scripts.observer.questions import pause, question

SECONDS = 600.0  # in which everything must have been seen
SO_TIMESTAMPNS = 35  # of Linux; the socket module does not name it
TIMESPEC = struct.Struct("qq")
HEAD_END = b"\r\n\r\n"
BODY_END = b"\r\n0\r\n\r\n"
KEY_WIDTH = 24  # the questions are all of one length


@dataclass(slots=True)
class Trace:
    """One answer as it passed: arrivals are (seconds since the question was sent, octets)."""

    key: str
    arrivals: list[tuple[float, int]] = field(default_factory=list)
    first_words: float = 0.0  # seconds until the client could read something of the content
    status: int = 0
    streamed: bool = True
    due: float = 0.0  # seconds after which the upstream's first words came
    slot: int = -1  # of the sealed request, by which a cluster's front routes it

    @property
    def kind(self) -> str:
        """What was asked."""
        return self.key.partition("/")[0]

    @property
    def octets(self) -> int:
        """The size of the whole answer."""
        return sum(size for _, size in self.arrivals)

    @property
    def seconds(self) -> float:
        """How long the answer took, as the observer sees it."""
        return self.arrivals[-1][0]


class Watched:
    """One client's connection to the relay."""

    def __init__(self, relay: str, config: KeyConfig, key: str, script: Script) -> None:
        self.trace = Trace(key, streamed=is_streamed(script), due=first_gap(script))
        url = urllib.parse.urlsplit(relay)
        self.socket = socket.create_connection((url.hostname, url.port or 80))
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.received = bytearray()
        self.opened = 0
        path = (url.path or "/").encode()
        request, self.reader = sealed_post(config, key, script, path)
        place = place_of(request.partition(HEAD_END)[2])
        self.trace.slot = -1 if place is None else place.slot
        time.sleep(pause(key))
        self.sent = time.time()
        self.socket.sendall(request)

    def read(self) -> bool:
        """Take what has arrived; return whether it was the last."""
        data, notes, _, _ = self.socket.recvmsg(1 << 16, 256)
        if not data:
            raise ConnectionError("an answer broke off")
        seconds, nanoseconds = TIMESPEC.unpack(notes[0][2])
        self.trace.arrivals.append((seconds + nanoseconds / 1e9 - self.sent, len(data)))
        self.received += data
        self.open()
        return self.received.endswith(BODY_END)

    def open(self) -> None:
        """Open what has come, to know when there was something to read, and that all is well."""
        if not self.opened:
            self.opened = self.received.find(HEAD_END) + len(HEAD_END)
        while (end := self.received.find(b"\r\n", self.opened)) > 0:
            size = int(self.received[self.opened : end], 16)
            start = end + 2
            if len(self.received) < start + size + 2:
                return
            self.opened = start + size + 2
            events = (
                self.reader.feed(bytes(self.received[start : start + size]))
                if size
                else self.reader.finish()
            )
            head = head_in(events)
            self.trace.status = head.status if head else self.trace.status
            if not self.trace.first_words and b'"' in content_in(events):
                self.trace.first_words = self.trace.arrivals[-1][0]


def sealed_post(
    config: KeyConfig, key: str, script: Script, path: bytes = b"/"
) -> tuple[bytes, AnswerReader]:
    """Return a client's request for a script, and what opens its answer; a relay is at /."""
    is_payment = key.partition("/")[0] in payments.KINDS
    ask = payments.question if is_payment else question
    target, asked = ask(key, streamed=is_streamed(script), width=KEY_WIDTH)
    inner = inner_request("POST", target, asked, now=time.time())
    inner = replace(inner, headers=(*inner.headers, *payments.fields(key)))
    sealed = seal(config, inner, Framing.CHUNKED)
    content = b"".join(sealed.pieces)
    head = (
        f"POST {path.decode()} HTTP/1.1\r\nHost: relay\r\nConnection: close\r\nIncremental: ?1\r\n"
        f"Content-Type: {Framing.CHUNKED.request_type}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content, sealed.reader


def watch(relay: str, config: KeyConfig, scripts: dict[str, Script], at_once: int) -> list[Trace]:
    """Ask for every script, `at_once` at a time, and return what passed.

    `relay` is the URL of whoever takes sealed requests.
    """
    waiting = iter(scripts.items())
    with selectors.DefaultSelector() as selector:
        for _, one in zip(range(at_once), _questions(relay, config, waiting), strict=False):
            selector.register(one.socket, selectors.EVENT_READ, one)
        return list(_watched(selector, _questions(relay, config, waiting)))


def _questions(
    relay: str, config: KeyConfig, waiting: Iterator[tuple[str, Script]]
) -> Iterator[Watched]:
    for key, script in waiting:
        yield Watched(relay, config, key, script)


def _watched(selector: selectors.BaseSelector, questions: Iterator[Watched]) -> Iterator[Trace]:
    deadline = time.monotonic() + SECONDS
    while selector.get_map():
        if time.monotonic() > deadline:
            raise TimeoutError("the answers do not end")
        for ready, _ in selector.select(1.0):
            one: Watched = ready.data
            if not one.read():
                continue
            selector.unregister(one.socket)
            one.socket.close()
            yield one.trace
            if (following := next(questions, None)) is not None:
                selector.register(following.socket, selectors.EVENT_READ, following)

"""The counters as Prometheus text over a minimal HTTP/1.0 on an address of its own."""

import socket
from collections.abc import Callable
from select import EPOLLIN, EPOLLOUT
from typing import Final

from host_proxy.loop import Loop

REQUEST_BYTES: Final = 4096  # of a scraper's request head
REQUEST_SECONDS: Final = 5.0
SCRAPERS: Final = 16  # at once
PAUSE_SECONDS: Final = 0.1  # without accepting, when the process is out of descriptors


class MetricsServer:
    """Answers `GET /metrics`, 404 to anything else, and closes."""

    __slots__ = ("_listener", "_listening", "_loop", "_scrapes", "_text")

    def __init__(self, loop: Loop, listener: socket.socket, text: Callable[[], bytes]) -> None:
        self._loop = loop
        self._listener = listener
        self._listening = True
        self._text = text
        self._scrapes: set[Scrape] = set()
        loop.watch(listener.fileno(), EPOLLIN, self)

    def ready(self, events: int) -> None:
        """Accept a scraper."""
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: it waits for a moment, and nobody spins
            self._loop.change(self._listener.fileno(), 0)
            self._loop.later(PAUSE_SECONDS, self._go_on)
            return
        if len(self._scrapes) >= SCRAPERS:
            sock.close()
            return
        self._scrapes.add(Scrape(self._loop, sock, self._text, self._scrapes.discard))

    def close(self) -> None:
        """Stop listening and close what is under way."""
        self._listening = False
        self._loop.close(self._listener)
        for scrape in tuple(self._scrapes):
            scrape.close()

    def _go_on(self) -> None:
        if self._listening:
            self._loop.change(self._listener.fileno(), EPOLLIN)


class Scrape:
    """One request and its answer."""

    __slots__ = ("_answer", "_closed", "_head", "_loop", "_sock", "_text", "_timer")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        text: Callable[[], bytes],
        closed: "Callable[[Scrape], None]",
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._text = text
        self._closed = closed
        self._head = b""
        self._answer = b""
        self._timer = loop.later(REQUEST_SECONDS, self.close)
        loop.watch(sock.fileno(), EPOLLIN, self)

    def ready(self, events: int) -> None:
        """Read the request head, then write the answer."""
        try:
            if self._answer:
                self._write()
            else:
                self._read()
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """Have done with it."""
        self._timer.cancel()
        self._loop.close(self._sock)
        self._closed(self)

    def _read(self) -> None:
        data = self._sock.recv(REQUEST_BYTES)
        self._head += data
        if not data or len(self._head) > REQUEST_BYTES:
            self.close()
        elif b"\r\n\r\n" in self._head:
            self._answer = self._respond()
            self._loop.change(self._sock.fileno(), EPOLLOUT)

    def _respond(self) -> bytes:
        if self._head.split(b" ", 2)[:2] != [b"GET", b"/metrics"]:
            return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        body = self._text()
        return (
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _write(self) -> None:
        self._answer = self._answer[self._sock.send(self._answer) :]
        if not self._answer:
            self.close()

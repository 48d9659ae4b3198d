"""The counters as Prometheus text over a minimal HTTP/1.0 on an address of its own."""

import contextlib
import os
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

    __slots__ = ("_listener", "_listening", "_loop", "_reserve", "_scrapes", "_text")

    def __init__(self, loop: Loop, listener: socket.socket, text: Callable[[], bytes]) -> None:
        self._loop = loop
        self._listener = listener
        self._listening = True
        self._text = text
        self._scrapes: set[Scrape] = set()
        self._reserve = Reserve(listener)
        loop.watch(listener.fileno(), EPOLLIN, self)

    def ready(self, events: int) -> None:
        """Accept a scraper."""
        self._reserve.lend()
        try:
            sock, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # out of descriptors: it waits for a moment, and nobody spins
            self._loop.change(self._listener.fileno(), 0)
            self._loop.later(PAUSE_SECONDS, self._go_on)
            return
        finally:
            self._reserve.refill()
        if len(self._scrapes) >= SCRAPERS:
            sock.close()
            return
        self._scrapes.add(Scrape(self._loop, sock, self._text, self._scraped))

    def close(self) -> None:
        """Stop listening and close what is under way."""
        self._listening = False
        for scrape in tuple(self._scrapes):
            scrape.close()
        self._reserve.lend()
        self._loop.close(self._listener)

    def _scraped(self, scrape: "Scrape") -> None:
        self._scrapes.discard(scrape)
        self._loop.forget(scrape.sock.fileno())
        if not self._reserve.replace(scrape.sock):
            self._loop.close(scrape.sock)

    def _go_on(self) -> None:
        if self._listening:
            self._loop.change(self._listener.fileno(), EPOLLIN)


class Reserve:
    """One descriptor kept back, so that metrics answer when clients have taken all others.

    It is given up just before a scraper is accepted, and comes back at the latest when that
    scraper has gone: another file takes the place of its socket in one system call, so that
    nobody else can have the number in between.
    """

    __slots__ = ("_fd", "_file")

    def __init__(self, file: socket.socket) -> None:
        self._file = file  # any open one will do
        self._fd: int | None = None
        self.refill()

    def lend(self) -> None:
        """Give the descriptor up."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def refill(self) -> None:
        """Have it back if there is one to be had."""
        if self._fd is None:
            with contextlib.suppress(OSError):
                self._fd = os.dup(self._file.fileno())

    def replace(self, sock: socket.socket) -> bool:
        """Close a socket that nobody watches by taking its place; False if nothing is wanting."""
        if self._fd is not None:
            return False
        self._fd = os.dup2(self._file.fileno(), sock.detach(), inheritable=False)
        return True


class Scrape:
    """One request and its answer."""

    __slots__ = ("_answer", "_closed", "_head", "_loop", "_text", "_timer", "sock")

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        text: Callable[[], bytes],
        closed: "Callable[[Scrape], None]",
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self.sock = sock
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
        """Have done with it; whoever is told closes the socket."""
        self._timer.cancel()
        self._closed(self)

    def _read(self) -> None:
        data = self.sock.recv(REQUEST_BYTES)
        self._head += data
        if not data or len(self._head) > REQUEST_BYTES:
            self.close()
        elif b"\r\n\r\n" in self._head:
            self._answer = self._respond()
            self._loop.change(self.sock.fileno(), EPOLLOUT)

    def _respond(self) -> bytes:
        if self._head.split(b" ", 2)[:2] != [b"GET", b"/metrics"]:
            return b"HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n"
        body = self._text()
        return (
            b"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def _write(self) -> None:
        self._answer = self._answer[self.sock.send(self._answer) :]
        if not self._answer:
            self.close()

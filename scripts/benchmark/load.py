"""The load: clients on kept-alive connections that send requests sealed beforehand.

Run as a process of its own, so that its CPU time is not the server's:

    python load.py ADDRESS REQUESTS-FILE CONNECTIONS

REQUESTS-FILE holds whole HTTP/1.1 requests, each after its length in four octets; each is sent
once, because a replayed one would be refused. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.local.gateway import connect

SECONDS = 120  # a load that is not through by then has failed
_LENGTH = b"content-length:"
_CODED_END = b"\r\n0\r\n\r\n"  # also part of ciphertext, at the end of a read once in 2**56


class Client:
    """One connection: sends a request, reads the whole answer, sends the next."""

    def __init__(self, address: str) -> None:
        self.socket = connect(address)
        self.socket.setblocking(False)
        self.received = bytearray()
        self.started = 0.0

    def send(self, request: bytes) -> None:
        self.started = time.perf_counter()
        self.received.clear()
        view = memoryview(request)
        while view:
            try:
                view = view[self.socket.send(view) :]
            except BlockingIOError:
                time.sleep(0.0005)  # a request is smaller than a socket's buffer: rare

    def read(self) -> int | None:
        """Take what has arrived; return the status when the answer is whole."""
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed a connection in mid-answer")
        self.received += data
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self.received[:end]).lower()
        return int(head[9:12]) if self._is_whole(head, end + 4) else None

    def _is_whole(self, head: bytes, start: int) -> bool:
        """Whether the body that starts there has ended."""
        _, counted, rest = head.partition(_LENGTH)
        if not counted:  # so it is in chunked transfer coding
            return self.received.endswith(_CODED_END)
        return len(self.received) >= start + int(rest.split(b"\r\n", 1)[0])


def run(address: str, requests: Iterator[bytes], connections: int) -> dict[str, object]:
    """Send every request; return counts, seconds and latencies in milliseconds."""
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        clients = [Client(address) for _ in range(connections)]
        for client in clients:
            stack.enter_context(client.socket)
        return _summary(*_run(selector, clients, requests))


def _run(
    selector: selectors.BaseSelector, clients: list[Client], requests: Iterator[bytes]
) -> tuple[list[float], int, int, float]:
    """Return the seconds that each answer took, counts of failed and unanswered, all seconds."""
    busy, failed = 0, 0
    latencies: list[float] = []
    started = time.perf_counter()
    for client in clients:
        request = next(requests, None)
        if request is None:
            break
        selector.register(client.socket, selectors.EVENT_READ, client)
        client.send(request)
        busy += 1
    while busy and time.perf_counter() - started < SECONDS:
        for key, _ in selector.select(1.0):
            client = key.data
            status = client.read()
            if status is None:
                continue
            latencies.append(time.perf_counter() - client.started)
            failed += status != 200
            request = next(requests, None)
            if request is None:
                selector.unregister(client.socket)
                busy -= 1
            else:
                client.send(request)
    return latencies, failed, busy, time.perf_counter() - started


def _summary(
    latencies: list[float], failed: int, unanswered: int, seconds: float
) -> dict[str, object]:
    latencies.sort()
    return {
        "requests": len(latencies),
        "failed": failed,
        "unanswered": unanswered,
        "seconds": seconds,
        "median_ms": 1000 * latencies[len(latencies) // 2],
        "p99_ms": 1000 * latencies[len(latencies) * 99 // 100],
    }


def read_requests(path: Path) -> Iterator[bytes]:
    data, position = path.read_bytes(), 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4])
        yield data[position + 4 : position + 4 + size]
        position += 4 + size


def main() -> None:
    address, path, connections = sys.argv[1:]
    print(json.dumps(run(address, read_requests(Path(path)), int(connections))))


if __name__ == "__main__":
    main()

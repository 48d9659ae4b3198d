"""Processes that read what is large, one for each: no stream's clock waits for it.

That are requests, whole answers, events of streams, and streamed answers that are to be signed.

A worker has a template of them: a process that was forked before the worker served anybody, and so
has nobody's secrets to leave to a reader. For each of them the worker sends it one end of a socket
pair; the template forks a reader, which reads the job from there to its end, does it, writes the
result and ends, with all the memory that it took. What it can take is bounded; if it takes more, it
alone ends. A reader ends with its template, and that with its worker.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
from collections.abc import Callable
from pathlib import Path

from enclave_server.chat.errors import ChatError
from enclave_server.hardening import end_with_parent

AT_ONCE = 2
"""Readers of one worker at a time; more requests wait for their turn."""

CPU_SECONDS = 10
"""Of the processor, for one request: the worst needs a tenth of it."""

MEMORY_BYTES = 1 << 30
"""Beyond what the template has, for one request of 20 MiB: the worst needs a third of it."""

SECONDS = 60.0
"""For a request to be read, on a machine that has much else to do."""

POLITENESS = 5
"""The reader is as nice as that to the workers: their clocks come first."""

_PIECE_BYTES = 1 << 18

Work = Callable[[bytes], bytes]


class Readers:
    """A worker's side: hands over jobs and takes the results."""

    def __init__(self, template: socket.socket) -> None:
        """`template` is what `start` returned."""
        template.setblocking(False)
        self._template = template
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def do(self, job: bytes) -> bytearray:
        """Return the result of `job`; raises ChatError if its reader did not end well."""
        async with self._turn:
            try:
                async with asyncio.timeout(SECONDS):
                    result = await self._exchange(job)
            except OSError:  # TimeoutError is one
                result = bytearray()
        if not result:
            raise ChatError(
                503, "This request, or its answer, could not be read.", kind="server_error"
            )
        return result

    async def _exchange(self, job: bytes) -> bytearray:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                socket.send_fds(self._template, (b"\0",), (theirs.fileno(),))
            ours.setblocking(False)
            await loop.sock_sendall(ours, job)
            ours.shutdown(socket.SHUT_WR)
            result = bytearray()
            while piece := await loop.sock_recv(ours, _PIECE_BYTES):
                result += piece
                # As long as there is something to read, the loop would not go round by itself.
                await asyncio.sleep(0)
        return result

    def when_gone(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the template has ended, after which nothing can be read any more."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._template)
            tell()

        loop.add_reader(self._template, gone)


def start(work: Work) -> socket.socket:
    """Fork the template of readers that do `work`; return the socket that leads to it."""
    worker = os.getpid()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        _be(lambda: _serve(worker, theirs.fileno(), work))
    theirs.close()
    return ours


def _be(task: Callable[[], None]) -> None:
    """End the process after `task`: nothing of the parent's stack may run again."""
    status = 1
    try:
        task()
        status = 0
    finally:
        os._exit(status)


def _serve(worker: int, channel: int, work: Work) -> None:
    end_with_parent(worker)
    # The end of the worker's sockets must be their end, whoever was forked meanwhile.
    os.closerange(3, channel)
    os.closerange(channel + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that nobody has to be waited for
    gc.disable()
    gc.freeze()
    template = os.getpid()
    with socket.socket(fileno=channel) as requests:
        while descriptors := socket.recv_fds(requests, 1, 1)[1]:
            if os.fork() == 0:
                _be(lambda: _read(template, requests, descriptors[0], work))
            os.close(descriptors[0])


def _read(template: int, requests: socket.socket, descriptor: int, work: Work) -> None:
    end_with_parent(template)
    requests.close()
    os.nice(POLITENESS)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    memory = _address_space() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    with socket.socket(fileno=descriptor) as exchange:
        job = bytearray()
        while piece := exchange.recv(_PIECE_BYTES):
            job += piece
        with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
            exchange.sendall(work(bytes(job)))


def _address_space() -> int:
    """Return the octets of it that this process has."""
    counts = Path("/proc/self/statm").read_bytes()
    return int(counts.split()[0]) * resource.getpagesize()

"""Who accepts when workers share a listener, and what is done when nobody can."""

import asyncio
import contextlib
import errno
import io
import json
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from enclave_server.addresses import UnixAddress, bound_address, listen_socket
from enclave_server.http import accepting, rooms
from enclave_server.http.limits import Limits
from enclave_server.http.messages import Handler
from enclave_server.http.rooms import Rooms
from enclave_server.http.server import Server
from enclave_server.log import Log
from tests.support.outer_http import Gate, get
from tests.support.sockets import Peer, Recorder, Serving, run

FOR_EVER = 1e6  # seconds


@contextlib.asynccontextmanager
async def siblings(
    directory: Path, limits: Sequence[Limits], handler: Handler, shared: Rooms | None = None
) -> AsyncIterator[list[Serving]]:
    """Yield servers with these limits that share one listener."""
    shared = shared or Rooms(len(limits))
    running: list[Serving] = []
    with listen_socket(UnixAddress(str(directory / "s"))) as listener:
        for number, each in enumerate(limits):
            log = io.StringIO()
            room = shared.of(number)
            server = Server(listener.dup(), lambda _: handler, each, Log(log), room=room)
            await server.start()
            running.append(Serving(server, bound_address(listener), log))
        try:
            yield running
        finally:
            for serving in running:
                for peer in serving.peers:
                    peer.close()
                await serving.server.drain(0.1)


async def asked(serving: Serving) -> tuple[Peer, int]:
    """Return a new connection, and the status that its first request got."""
    peer = await serving.connect()
    await peer.send(get())
    return peer, (await peer.answer()).status


def test_a_full_worker_leaves_new_connections_to_its_siblings(tmp_path: Path) -> None:
    async def main() -> None:
        limits = [Limits(connections=2), Limits(connections=5), Limits(connections=1)]
        async with siblings(tmp_path, limits, Recorder()) as running:
            assert [(await asked(running[0]))[1] for _ in range(8)] == 8 * [200]
            counts = [each.server.counters for each in running]
            assert [each.connections for each in counts] == [2, 5, 1]
            assert sum(each.refused for each in counts) == 0

    run(main)


def test_when_all_are_full_somebody_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        limits = 2 * [Limits(connections=1)]
        async with siblings(tmp_path, limits, Recorder()) as running:
            peers = [await asked(running[0]) for _ in range(5)]
            assert [status for _, status in peers] == [200, 200, 503, 503, 503]
            await peers[0][0].send(get())
            assert (await peers[0][0].answer()).status == 200

    run(main)


def test_who_has_room_again_accepts_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "LOOK_SECONDS", FOR_EVER)
    monkeypatch.setattr(rooms, "VALID_SECONDS", FOR_EVER)

    async def main() -> None:
        limits = 2 * [Limits(connections=1)]
        async with siblings(tmp_path, limits, Recorder()) as running:
            first, second = [(await asked(running[0]))[0] for _ in range(2)]
            for leaving in (first, second):
                leaving.close()
                await running[0].until(
                    lambda: sum(each.server.counters.connections for each in running) == 1
                )
                _, status = await asked(running[0])
                assert status == 200

    run(main)


def test_who_answers_all_that_it_may_leaves_new_ones_to_its_siblings(tmp_path: Path) -> None:
    async def main() -> None:
        gate = Gate()
        async with siblings(tmp_path, 3 * [Limits(requests=1)], gate) as running:
            for number in range(3):
                peer = await running[0].connect()
                await peer.send(get())
                while gate.running <= number:
                    await asyncio.sleep(0.005)
            assert [each.server.counters.requests for each in running] == [1, 1, 1]
            assert (await asked(running[0]))[1] == 503
            gate.open.set()

    run(main)


def test_a_sibling_that_has_fallen_silent_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "VALID_SECONDS", 0.2)

    async def main() -> None:
        shared = Rooms(2)
        async with siblings(tmp_path, [Limits(connections=1)], Recorder(), shared) as running:
            assert (await asked(running[0]))[1] == 200
            shared.of(1).tell(True)
            assert (await asked(running[0]))[1] == 503

    run(main)


def test_who_drains_has_no_room(tmp_path: Path) -> None:
    async def main() -> None:
        shared = Rooms(2)
        async with siblings(tmp_path, 2 * [Limits()], Recorder(), shared) as running:
            assert shared.of(0).is_elsewhere()
            await running[1].server.drain(0)
            assert not shared.of(0).is_elsewhere()
            assert (await asked(running[0]))[1] == 200

    run(main)


class Scarce:
    """A listener for whose connections there is no descriptor, some times."""

    def __init__(self, listener: socket.socket, times: int, code: int) -> None:
        self._listener = listener
        self._code = code
        self.times = times
        self.asked = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.asked += 1
        if self.asked <= self.times:
            raise OSError(self._code, "so it is")
        return self._listener.accept()

    def fileno(self) -> int:
        return self._listener.fileno()

    def close(self) -> None:
        self._listener.close()


@contextlib.asynccontextmanager
async def scarce(directory: Path, times: int, code: int) -> AsyncIterator[tuple[Serving, Scarce]]:
    log = io.StringIO()
    real = listen_socket(UnixAddress(str(directory / "s")))
    listener, address = Scarce(real, times, code), bound_address(real)
    recorder = Recorder()
    server = Server(listener, lambda _: recorder, Limits(), Log(log))  # type: ignore[arg-type]
    await server.start()
    serving = Serving(server, address, log)
    try:
        yield serving, listener
    finally:
        for peer in serving.peers:
            peer.close()
        await server.drain(0.1)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_clients_wait_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", 0.01)

    async def main() -> None:
        async with scarce(tmp_path, 3, code) as (serving, _):
            assert (await asked(serving))[1] == 200
            lines = [json.loads(line) for line in serving.log.getvalue().splitlines()]
            assert [line["code"] for line in lines] == 3 * [errno.errorcode[code]]

    run(main)


def test_of_a_want_of_descriptors_there_is_one_line_a_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "PAUSE_SECONDS", FOR_EVER)

    async def main() -> None:
        async with scarce(tmp_path, 1, errno.EMFILE) as (serving, listener):
            for _ in range(5):
                await serving.connect()
            await serving.until(lambda: bool(serving.events()))
            for _ in range(100):
                await asyncio.sleep(0)
            assert len(serving.events()) == listener.asked == 1

    run(main)


def test_a_connection_that_has_gone_is_no_failure(tmp_path: Path) -> None:
    async def main() -> None:
        async with scarce(tmp_path, 1, errno.ECONNABORTED) as (serving, _):
            assert (await asked(serving))[1] == 200
            assert serving.events() == []

    run(main)


def test_a_peer_that_cannot_be_served_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise OSError(errno.EINVAL, "gone")

    async def main() -> None:
        async with siblings(tmp_path, [Limits()], Recorder()) as (serving,):
            loop = asyncio.get_running_loop()
            with monkeypatch.context() as patched:
                patched.setattr(loop, "connect_accepted_socket", fail)
                peer = await serving.connect()
                assert await peer.read_to_end() == b""
            assert serving.server.counters.connections == 0
            assert (await asked(serving))[1] == 200

    run(main)

"""Draining takes no longer than what is running, however long it might."""

import asyncio
import socket

import pytest

from tests.support.outer_http import FAMILIES, Gate, get
from tests.support.sockets import Recorder, run, serving

FOR_EVER = 1e6  # seconds: a drain that waited for its time would not end within a test's


@FAMILIES
@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_drain_ends_with_the_last_connection(family: str, count: int) -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, family=family) as server:
            peers = [await server.connect() for _ in range(count)]
            for peer in peers:
                await peer.send(get("/busy"))
            await server.until(lambda: gate.running == count)
            draining = asyncio.create_task(server.server.drain(FOR_EVER))
            gate.open.set()
            for peer in peers:
                assert (await peer.answer()).body == b"/busy"
                peer.close()
            await draining
            assert server.server.counters.connections == 0

    run(main)


def test_whoever_was_accepted_a_moment_before_is_closed_too() -> None:
    async def main() -> None:
        async with serving(Recorder()) as server:
            ours, theirs = socket.socketpair()
            theirs.setblocking(False)
            server.server._take(theirs)
            assert server.server.counters.accepted == 1
            await server.server.drain(60)
            assert server.server.counters.connections == 0
            assert not server.server._shared.connections
            with ours:
                ours.settimeout(60)
                assert ours.recv(1) == b""

    run(main)

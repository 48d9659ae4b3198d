"""Draining takes no longer than what is running, however long it might."""

import asyncio

import pytest

from tests.support.outer_http import FAMILIES, Gate, get
from tests.support.sockets import run, serving

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

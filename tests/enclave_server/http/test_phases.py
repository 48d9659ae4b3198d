"""Phases at the socket: each has its deadline."""

import asyncio
import dataclasses

import pytest

from tests.support.outer_http import MIB, QUICK, get, post, refuse_refused
from tests.support.sockets import Recorder, run, serving


@pytest.mark.parametrize("part", [b"G", get()[:-2], post(5), post(5) + b"hell"])
def test_a_slow_upload_is_a_408(part: bytes) -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(part)
            answer = await peer.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.headers["content-type"] == "application/problem+json"
            assert await peer.read_to_end() == b""

    run(main)


def test_a_head_that_trickles_is_a_408() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            for octet in get("/" + "a" * 500):
                try:
                    await peer.send(bytes([octet]))
                except (BrokenPipeError, ConnectionResetError):
                    break
                if server.server.counters.answered or server.log.getvalue():
                    break
                await asyncio.sleep(0.01)
            assert (await peer.answer()).status == 408

    run(main)


def test_an_upload_at_the_minimum_rate_is_served() -> None:
    async def main() -> None:
        limits = dataclasses.replace(QUICK, body_bytes_per_second=50)
        async with serving(Recorder(), limits=limits) as server:
            peer = await server.connect()
            await peer.send(post(1000))
            for _ in range(10):
                await peer.send(b"x" * 100)
                await asyncio.sleep(0.05)
            assert (await peer.answer()).status == 200

    run(main)


def test_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            silent = await server.connect()
            served = await server.connect()
            await served.send(get())
            assert (await served.answer()).status == 200
            assert await silent.read_to_end() == b""
            assert await served.read_to_end() == b""

    run(main)


def test_a_peer_that_does_not_close_is_cut_off() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK, screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(MIB, "/refused"))
            await server.until(lambda: server.server.counters.accepted == 1)
            await server.until(lambda: server.server.counters.connections == 0)
            assert (await peer.answer()).status == 403

    run(main)

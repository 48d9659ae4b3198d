"""More than there is room for: connections, requests, octets."""

from enclave_server.http.limits import Limits
from tests.support.outer_http import FAMILIES, MIB, Gate, ended, get, post
from tests.support.sockets import Recorder, run, serving


@FAMILIES
def test_connections_above_the_limit_get_an_orderly_503(family: str) -> None:
    async def main() -> None:
        limits = Limits(connections=3, retry_after_seconds=7)
        async with serving(Recorder(), family=family, limits=limits) as server:
            admitted = [await server.connect() for _ in range(3)]
            await server.until(lambda: server.server.counters.connections == 3)
            for _ in range(5):
                refused = await server.connect()
                await refused.send(post(MIB) + b"x" * MIB)
                answer = await refused.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "7")
                refused.end()
                assert await refused.read_to_end() == b""
                refused.close()
            for peer in admitted:
                await peer.send(get())
                assert (await peer.answer()).status == 200
            admitted.pop().close()
            await server.until(lambda: server.server.counters.connections == 2)
            again = await server.connect()
            await again.send(get())
            assert (await again.answer()).status == 200
            assert server.server.counters.refused == 5

    run(main)


def test_refusals_have_a_limit_too() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(connections=1, refusals=2)) as server:
            peers = [await server.connect() for _ in range(5)]
            for peer in peers[3:]:
                assert await ended(peer)
            assert (await peers[2].answer()).status == 503

    run(main)


def test_requests_above_the_limit_get_a_503_and_keep_their_connection() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=Limits(requests=2)) as server:
            first, second, third = [await server.connect() for _ in range(3)]
            await first.send(get("/1"))
            await second.send(get("/2"))
            await server.until(lambda: gate.running == 2)
            await third.send(get("/3"))
            answer = await third.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            gate.open.set()
            await third.send(get("/4"))
            assert (await first.answer()).body == b"/1"
            assert (await third.answer()).status in (200, 503)

    run(main)


def test_uploads_together_have_a_limit() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(buffered_bytes=2 * MIB)) as server:
            patient, greedy = await server.connect(), await server.connect()
            await patient.send(post(2 * MIB) + b"x" * MIB)
            await server.until(lambda: server.server.counters.buffered_bytes >= MIB)
            await greedy.send(post(2 * MIB) + b"x" * (2 * MIB - 1))
            assert (await greedy.answer()).status == 503
            await patient.send(b"x" * MIB)
            assert (await patient.answer()).status == 200
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)


def test_requests_being_answered_count_with_their_copies() -> None:
    async def main() -> None:
        gate = Gate()
        limits = Limits(buffered_bytes=8 * MIB, body_copies=4, requests=100)
        async with serving(gate, limits=limits) as server:
            alone, upload, request, small = [await server.connect() for _ in range(4)]
            await alone.send(post(3 * MIB) + b"x" * (3 * MIB))
            await server.until(lambda: gate.running == 1)
            for peer, size in ((upload, MIB), (request, 60_000)):
                await peer.send(post(size) + b"x" * size)
                assert (await peer.answer()).status == 503
            await small.send(post(20_000) + b"x" * 20_000)
            await server.until(lambda: gate.running == 2)
            assert server.server.counters.buffered_bytes == 4 * (3 * MIB + 20_000)
            gate.open.set()
            assert [(await peer.answer()).status for peer in (alone, small)] == [200, 200]
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)

"""What one connection counts and holds: of an upload, of a request, and of what comes behind."""

from enclave_server.http.limits import Limits
from tests.support.outer_http import Gate, get, post
from tests.support.sockets import Serving, run, serving


def received(server: Serving) -> int:
    (connection,) = server.server._shared.connections
    return connection._progress.received


def test_an_upload_is_as_fast_as_its_octets_come_those_with_the_head_included() -> None:
    async def main() -> None:
        async with serving(Gate()) as server:
            peer = await server.connect()
            await peer.send(post(1000) + bytes(300))
            await server.until(lambda: server.server.counters.buffered_bytes == 300)
            assert received(server) == 300
            await peer.send(bytes(200))
            await server.until(lambda: server.server.counters.buffered_bytes == 500)
            assert received(server) == 500

    run(main)


def test_a_request_counts_with_its_copies_and_with_what_has_come_behind_it() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate) as server:
            peer = await server.connect()
            behind = get("/b")[:-2]
            await peer.send(post(1000) + bytes(1000) + behind)
            await server.until(lambda: gate.running == 1)
            held = server.server.counters.buffered_bytes
            assert held == Limits().body_copies * 1000 + len(behind)
            gate.open.set()
            assert (await peer.answer()).body == b"/a"
            await server.until(lambda: server.server.counters.buffered_bytes == len(behind))
            await peer.send(b"\r\n")
            assert (await peer.answer()).body == b"/b"
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)

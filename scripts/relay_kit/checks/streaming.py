"""That bodies pass as they come in, whole, and that a client's end is handed on."""

import asyncio
import hashlib

from scripts.relay_kit.bench import Bench, receive, require
from scripts.relay_kit.recording import ANSWER, Exchange, Script

LARGE_BYTES = 16 * 1024 * 1024


async def upload_streams(bench: Bench) -> str:
    """A request's pieces are handed on as they come in"""
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    async def record(exchange: Exchange) -> None:
        async for data in exchange.body(exchange.request):
            arrived.put_nowait(data)
        await exchange.answer(200, b"", ANSWER)

    bench.gateway.script = record
    call = await bench.open_upload()
    for number in range(3):  # each is sent only when the one before it has arrived
        expected, got = b"piece %d" % number, b""
        await call.send(expected)
        while got != expected:
            got += await arrived.get()
    await call.end()
    require((await receive(call)).status == 200, "the answer is missing")
    call.close()
    return "3 pieces, each before the next was sent"


async def answer_streams(bench: Bench) -> str:
    """An answer's pieces are handed on as they come in"""
    may_go_on = asyncio.Semaphore(0)

    async def trickle(exchange: Exchange) -> None:
        await exchange.read()
        await exchange.start(200, ("Content-Type", "message/ohttp-chunked-res"))
        for number in range(3):
            await exchange.piece(b"piece %d" % number)
            await may_go_on.acquire()
        await exchange.end()

    bench.gateway.script = trickle
    call = await bench.open_upload()
    await call.end()
    await call.head()
    got = b""
    async for data in call.body():
        got += data
        if got in (b"piece 0", b"piece 0piece 1", b"piece 0piece 1piece 2"):
            may_go_on.release()
    call.close()
    require(got == b"piece 0piece 1piece 2", f"arrived: {got!r}")
    return "3 pieces, each before the next was sent"


async def large_bodies(bench: Bench) -> str:
    """Large bodies arrive whole, both ways"""
    body = hashlib.sha256(b"large").digest() * (LARGE_BYTES // 32)
    answer = await bench.post(body)
    require(answer.status == 200, f"status {answer.status} for {LARGE_BYTES} bytes")
    require(answer.whole and answer.body == body, "the body differs")
    return f"{LARGE_BYTES // (1024 * 1024)} MiB"


async def hanging_up_passes(bench: Bench) -> str:
    """When the client goes, the gateway learns it"""
    gone: asyncio.Queue[str] = asyncio.Queue()
    begun = asyncio.Event()

    def waiting(state: str) -> Script:
        async def wait(exchange: Exchange) -> None:
            await exchange.read()
            if state == "during the answer":
                await exchange.start(200, ANSWER)
                await exchange.piece(b"first")
            begun.set()
            await exchange.gone()
            gone.put_nowait(state)
            raise EOFError

        return wait

    for state in ("before the answer", "during the answer"):
        begun.clear()
        bench.gateway.script = waiting(state)
        call = await bench.open_upload()
        await call.end()
        await begun.wait()
        if state == "during the answer":
            await call.head()
        await call.cancel()
        require(await gone.get() == state, "it did not")
        call.close()
    return "before and during the answer"

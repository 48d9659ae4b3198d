"""A stand-in for an OpenAI-compatible upstream: whole answers at once, streams of fifty events.

    python -m scripts.benchmark.word_upstream

Listens on a free port of the loopback, and says which.
"""

from __future__ import annotations

import asyncio
import json

from scripts.benchmark.instant_upstream import ANSWER, HEAD
from scripts.local.scripted_upstream import END, EVENTS_HEAD, event

EVENTS, SPACING_SECONDS = 50, 0.02
FIRST, WORD = event({"role": "assistant", "content": ""}), event({"content": " word"})


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer what comes on one connection."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
            question = json.loads(await reader.readexactly(size) or b"{}")
            if question.get("stream"):
                await stream(writer)
            else:
                writer.write(HEAD % len(ANSWER) + ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def stream(writer: asyncio.StreamWriter) -> None:
    """Say fifty words, by the clock."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    writer.write(EVENTS_HEAD + FIRST)
    for _ in range(EVENTS - 1):
        due += SPACING_SECONDS
        await asyncio.sleep(due - loop.time())
        writer.write(WORD)
    writer.write(END)


async def main() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    host, port = server.sockets[0].getsockname()
    print(json.dumps({"event": "listening", "address": f"tcp://{host}:{port}"}), flush=True)
    print(json.dumps({"event": "ready"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

"""An OpenAI-compatible upstream whose answers are too large: a stand-in, asked over a Unix socket.

    python -m scripts.benchmark.large_upstream SOCKET

The model that it is asked for says what it streams: `event` is one event of 4 MiB that is made of
small choices, which is the worst for who reads it, `answer` is 15 MB of text in small events.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
MIB = 1 << 20
PART = b'{"index":0,"delta":{"content":"a"}}'
WORDS, WORD = 1900, b"w" * 8000
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def said(model: str) -> Iterator[bytes]:
    """Yield the events of an answer."""
    if model == "event":
        parts = b",".join([PART] * (4 * MIB // (len(PART) + 1) - 1))
        yield b'data: {"choices":[%b]}\n\n' % parts
    else:
        for _ in range(WORDS):
            yield b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % WORD
    yield END


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one request, and close."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    [length] = [line for line in lines if line.startswith(b"content-length:")]
    asked = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
    writer.write(HEAD)
    with contextlib.suppress(ConnectionError), contextlib.closing(writer):
        for piece in said(asked["model"]):
            writer.write(piece)
            await writer.drain()


async def main() -> None:
    """Serve until the end."""
    server = await asyncio.start_unix_server(serve, sys.argv[1])
    print(json.dumps({"event": "ready", "listen": f"unix:{sys.argv[1]}"}), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

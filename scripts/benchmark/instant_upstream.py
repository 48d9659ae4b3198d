"""A stand-in for an OpenAI-compatible upstream: answers every question at once, with one text.

python -m scripts.benchmark.instant_upstream SOCKET [CERTIFICATE]

With a certificate (and its key in the same file) it is asked over TLS.
"""

from __future__ import annotations

import asyncio
import json
import sys

from scripts.benchmark.certificates import server_context

ANSWER = json.dumps(
    {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 1,
        "model": "instant",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "x" * 300},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
            await reader.readexactly(size)
            writer.write(HEAD % len(ANSWER) + ANSWER)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main() -> None:
    tls = server_context(sys.argv[2:])
    server = await asyncio.start_unix_server(serve, sys.argv[1], ssl=tls)
    print(json.dumps({"event": "ready", "listen": f"unix:{sys.argv[1]}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())

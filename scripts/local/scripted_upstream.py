"""An OpenAI-compatible upstream that says what a script says, when it says so: a stand-in.

    python -m scripts.local.scripted_upstream SOCKET SCRIPTS.json

The question, or its `stop`, is a key of SCRIPTS.json, whose value is what is answered: a list of
[seconds after the event before, text] for a stream, or an object {"after": seconds, "text": …}
for an answer in one piece; its "status", if there is one, makes it an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

COMMON = {"id": "chatcmpl-0", "created": 1, "model": "scripted"}
EVENTS_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
WHOLE_HEAD = "HTTP/1.1 {} Scripted\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    """Return one event of a streamed chat, as a chunk of its HTTP message."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {**COMMON, "object": "chat.completion.chunk", "choices": [choice]}
    return chunk(b"data: " + json.dumps(data).encode() + b"\n\n")


def chunk(data: bytes) -> bytes:
    """Return `data` as a chunk of an HTTP message."""
    return b"%x\r\n%b\r\n" % (len(data), data)


END = event({}, "stop") + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def whole(script: dict[str, Any]) -> bytes:
    """Return an answer in one piece, with its head."""
    status = script.get("status", 200)
    message = {"role": "assistant", "content": script.get("text", "")}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    answer = {**COMMON, "object": "chat.completion", "choices": choices}
    body = json.dumps(answer if status == 200 else {"error": {"message": "scripted"}}).encode()
    return WHOLE_HEAD.format(status, len(body)).encode() + body


def key_of(question: dict[str, Any]) -> str:
    """Return the key of the script."""
    stops = question.get("stop")
    key: str = stops[0] if stops else question["messages"][-1]["content"]
    return key.strip()


async def play(script: Any, writer: asyncio.StreamWriter) -> None:
    """Send what the script says, at its times after now."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    if isinstance(script, dict):
        await asyncio.sleep(script["after"])
        writer.write(whole(script))
        return
    unsent = EVENTS_HEAD + event({"role": "assistant", "content": ""})
    for seconds, text in script:
        due += seconds
        await asyncio.sleep(due - loop.time())
        writer.write(unsent + event({"content": text}))
        unsent = b""
    writer.write(END)


async def main(scripts: dict[str, Any]) -> None:
    """Serve until the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
                question = json.loads(await reader.readexactly(size))
                await play(scripts[key_of(question)], writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_unix_server(serve, sys.argv[1])
    print(json.dumps({"event": "ready", "listen": f"unix:{sys.argv[1]}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[2]).read_text())))

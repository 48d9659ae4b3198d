"""An OpenAI-compatible upstream that says each question's mark back: a stand-in.

    python -m scripts.soaking.echoing_upstream SOCKET ARRIVALS

The mark of each question that has arrived whole is a line of the file ARRIVALS, before it is
answered: so a question that came twice is there twice, also if this program was killed meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.local.scripted_upstream import END, EVENTS_HEAD, event, whole

MARK = re.compile(r"mark-[0-9a-f]{16}")
THINK_SECONDS = 0.05  # before an answer in one piece
PIECE_SECONDS = 0.1  # between the pieces of a streamed one
MOST_WORDS = 16
IDLE_SECONDS = 10.0  # of a connection: a provider closes it when it sees fit


def new_mark() -> str:
    """Return a mark that no other question has."""
    return f"mark-{secrets.token_hex(8)}"


def pieces(mark: str) -> list[str]:
    """Return the pieces of a streamed answer: the mark in two of them, then some words."""
    words = int(mark[-2:], 16) % MOST_WORDS
    return ["You said ", mark[:9], mark[9:], ".", *[" And so on."] * words]


def mark_of(question: dict[str, Any]) -> str:
    """Return the first mark in the last message."""
    found = MARK.search(str(question["messages"][-1]["content"]))
    return found[0] if found else ""


async def answer(question: dict[str, Any], mark: str, writer: asyncio.StreamWriter) -> None:
    """Say the mark back, whole or in pieces."""
    if not question.get("stream"):
        await asyncio.sleep(THINK_SECONDS)
        writer.write(whole({"text": "".join(pieces(mark))}))
        return
    writer.write(EVENTS_HEAD + event({"role": "assistant", "content": ""}))
    for piece in pieces(mark):
        await asyncio.sleep(PIECE_SECONDS)
        writer.write(event({"content": piece}))
        await writer.drain()
    writer.write(END)


async def main(socket: str, note: Callable[[str], object]) -> None:
    """Serve until the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
                question = json.loads(await reader.readexactly(size))
                mark = mark_of(question)
                note(f"{mark}\n")
                await answer(question, mark, writer)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            writer.close()

    server = await asyncio.start_unix_server(serve, socket)
    print(json.dumps({"event": "ready", "listen": f"unix:{socket}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a", buffering=1) as arrivals:
        Path(sys.argv[1]).unlink(missing_ok=True)  # of one that was killed
        asyncio.run(main(sys.argv[1], arrivals.write))

"""An upstream that notes which worker asked, and when its answer began: a stand-in.

    python -m scripts.soaking.noting_upstream SOCKET NOTES

A line of NOTES is `arrived` or `began`, the question's mark, the asking process and the time of the
machine's monotonic clock; each is written before what it tells of.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.local.scripted_upstream import END, EVENTS_HEAD, event, whole
from scripts.soaking.echoing_upstream import IDLE_SECONDS, mark_of, pieces

THINK_SECONDS = 0.4
"""Before an answer begins: long enough for something to be killed meanwhile."""

PIECE_SECONDS = 0.02


def peer(writer: asyncio.StreamWriter) -> int:
    """Return the process at the other end of a Unix socket."""
    taken = writer.get_extra_info("socket")
    size = struct.calcsize("3i")
    credentials = taken.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    process: int = struct.unpack("3i", credentials)[0]
    return process


async def main(path: str, note: Callable[[str], object]) -> None:
    """Serve until the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process = peer(writer)

        def tell(what: str, mark: str) -> None:
            note(f"{what} {mark} {process} {time.monotonic():.3f}\n")

        try:
            while True:
                async with asyncio.timeout(IDLE_SECONDS):
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or b"0")
                question = json.loads(await reader.readexactly(size))
                mark = mark_of(question)
                tell("arrived", mark)
                await asyncio.sleep(THINK_SECONDS)
                tell("began", mark)
                if not question.get("stream"):
                    writer.write(whole({"text": "".join(pieces(mark))}))
                    continue
                writer.write(EVENTS_HEAD + event({"role": "assistant", "content": ""}))
                for piece in pieces(mark):
                    writer.write(event({"content": piece}))
                    await writer.drain()
                    await asyncio.sleep(PIECE_SECONDS)
                writer.write(END)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    print(json.dumps({"event": "ready", "listen": f"unix:{path}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    with Path(sys.argv[2]).open("a", buffering=1) as notes:
        asyncio.run(main(sys.argv[1], notes.write))

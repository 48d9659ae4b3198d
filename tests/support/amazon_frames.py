"""Frames of Amazon's event streams, as a server sends them."""

import json
import struct
import zlib
from collections.abc import Mapping
from typing import Any

TEXT = 7


def header(name: str, value: bytes, kind: int = TEXT, *, size: bool = True) -> bytes:
    """Return one header; those of types 6 and 7 say their size."""
    length = struct.pack("!H", len(value)) if size else b""
    return bytes([len(name)]) + name.encode() + bytes([kind]) + length + value


def frame_of(headers: bytes, payload: bytes) -> bytes:
    """Return the frame of these octets."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    framed = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return framed + struct.pack("!I", zlib.crc32(framed))


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return a frame whose headers are texts."""
    return frame_of(b"".join(header(n, v.encode()) for n, v in headers.items()), payload)


def event(kind: str, content: Any) -> bytes:
    """Return the frame of an event, padded as Bedrock pads it."""
    padded = {**content, "p": "abcdefghij"[: len(kind) % 10]}
    headers = {
        ":event-type": kind,
        ":content-type": "application/json",
        ":message-type": "event",
    }
    return frame(headers, json.dumps(padded).encode())


def failure(kind: str, message: str = "No more.") -> bytes:
    """Return the frame of an exception."""
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, json.dumps({"message": message}).encode())

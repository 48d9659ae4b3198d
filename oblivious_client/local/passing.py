"""Streams as they are passed on to a program of this machine: the end once it has verified."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from oblivious_client.answers import StreamedAnswer
from oblivious_client.blocks import StreamedBlocks
from oblivious_client.items import StreamedItems
from protocol.event_stream import DONE, Event, encode_event

# The kind of an error that arose on this machine or on the way, where there is none else.
OWN = "oblivious_client_error"


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong, as programs are told it; `kind` is the service's own where it told one."""

    message: str
    code: str | None = None
    kind: str | None = None


class Passing(Protocol):
    """Passes one streamed answer on."""

    def take(self, data: bytes) -> bytes:
        """Return the events to pass on, without the padding; raises ClientError."""
        ...

    def finish(self) -> dict[str, Any]:
        """Return the whole answer, for its signature to be checked; raises ClientError."""
        ...

    def end(self) -> bytes:
        """Return the events to pass on once the signature has verified."""
        ...

    def fail(self, fault: Fault) -> bytes:
        """Return the event that says why there is no end."""
        ...


class PassedChat:
    """A stream of chat completions or of completions."""

    def __init__(self) -> None:
        self._streamed = StreamedAnswer()

    def take(self, data: bytes) -> bytes:
        """Return the events to pass on."""
        return b"".join(encode_event(_dump(chunk)) for chunk in self._streamed.feed(data))

    def finish(self) -> dict[str, Any]:
        """Return the whole answer."""
        return self._streamed.finish()

    def end(self) -> bytes:
        """Return the mark of the end."""
        return encode_event(DONE.encode())

    def fail(self, fault: Fault) -> bytes:
        """Return OpenAI's error object in an event."""
        return encode_event(error_object(fault))


class PassedItems:
    """A stream of the Responses API."""

    def __init__(self) -> None:
        self._streamed = StreamedItems()

    def take(self, data: bytes) -> bytes:
        """Return the events to pass on."""
        return b"".join(map(_encode, self._streamed.feed(data)))

    def finish(self) -> dict[str, Any]:
        """Return the whole answer."""
        return self._streamed.finish()

    def end(self) -> bytes:
        """Return the event that holds the whole answer."""
        return b"" if self._streamed.last is None else _encode(self._streamed.last)

    def fail(self, fault: Fault) -> bytes:
        """Return the event by which the service said that it failed, or one of an error."""
        if self._streamed.failed is not None:
            return _encode(self._streamed.failed)
        error = {"type": "error", "code": fault.code or OWN, "message": fault.message}
        return _encode(Event(json.dumps({**error, "param": None, "sequence_number": 0}), "error"))


class PassedBlocks:
    """A stream of Anthropic's Messages API."""

    def __init__(self) -> None:
        self._streamed = StreamedBlocks()

    def take(self, data: bytes) -> bytes:
        """Return the events to pass on."""
        return b"".join(map(_encode, self._streamed.feed(data)))

    def finish(self) -> dict[str, Any]:
        """Return the whole answer."""
        return self._streamed.finish()

    def end(self) -> bytes:
        """Return the event that ends the message."""
        return b"" if self._streamed.last is None else _encode(self._streamed.last)

    def fail(self, fault: Fault) -> bytes:
        """Return an event of an error."""
        error = message_error(fault.message, fault.kind or "api_error")
        return _encode(Event(error.decode(), "error"))


def error_object(fault: Fault, kind: str | None = None) -> bytes:
    """Return OpenAI's error object; `kind` is for a fault that has none of its own."""
    type_ = fault.kind or kind or OWN
    fields = {"message": fault.message, "type": type_, "param": None, "code": fault.code}
    return json.dumps({"error": fields}).encode()


def message_error(message: str, kind: str, code: str | None = None) -> bytes:
    """Return the error object of Anthropic's API, which has no codes: ours is a member more."""
    fields = {"type": kind, "message": message} | ({} if code is None else {"code": code})
    return json.dumps({"type": "error", "error": fields}).encode()


def _encode(event: Event) -> bytes:
    return b"event: %b\n%b" % (event.type.encode(), encode_event(event.data.encode()))


def _dump(chunk: dict[str, Any]) -> bytes:
    return json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode()

"""Whole responses as two readers understand them: ours, and h11 as the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass

import h11

from enclave_server.chat.upstream.response_body import Body, body_of, keeps_connection
from enclave_server.chat.upstream.response_head import (
    MAX_HEAD_BYTES,
    Head,
    HeadReader,
    ResponseError,
)

REQUEST = h11.Request(method="POST", target="/", headers=[("Host", "u"), ("Content-Length", "0")])


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader took a response for, and whether its connection may be used again."""

    status: int
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes
    reusable: bool


def by_ours(pieces: Sequence[bytes]) -> Reading | None:
    """Return how ours reads a response that arrives in `pieces` and then ends; None if refused."""
    reader, left = HeadReader(), list(pieces)
    try:
        while (head := reader.feed(left.pop(0) if left else _end())) is None:
            pass
        return _with_body(head, [reader.rest, *left])
    except ResponseError:
        return None


def _end() -> bytes:
    raise ResponseError


def _with_body(head: Head, pieces: list[bytes]) -> Reading:
    body, content = body_of(head), b""
    while pieces and not body.is_whole:
        content += _feed(body, pieces.pop(0))
    reusable = body.is_whole and not body.has_surplus and not any(pieces)
    body.end()
    return Reading(head.status, head.fields, content, reusable and keeps_connection(head))


def _feed(body: Body, piece: bytes) -> bytes:
    content = body.feed(piece)
    if body.is_broken:
        raise ResponseError
    return content


def by_h11(pieces: Sequence[bytes]) -> Reading | None:
    """Return how h11 reads a response that arrives in `pieces` and then ends; None if refused."""
    # Its limit is for what is incomplete, ours for all: ours is the stricter one.
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=4 * MAX_HEAD_BYTES)
    connection.send(REQUEST)
    connection.send(h11.EndOfMessage())
    events: list[h11.Event] = []
    try:
        for piece in pieces:
            connection.receive_data(piece)
            events += _events(connection, events)
        reusable = _is_done(connection)
        if not any(isinstance(event, h11.EndOfMessage) for event in events):
            connection.receive_data(b"")
            events += _events(connection, events)
    except h11.RemoteProtocolError:
        return None
    return _read(events, reusable)


def _events(connection: h11.Connection, before: list[h11.Event]) -> list[h11.Event]:
    events: list[h11.Event] = []
    while not any(isinstance(event, h11.EndOfMessage) for event in before + events[-1:]):
        event = connection.next_event()
        if not isinstance(event, h11.Event):
            break
        events.append(event)
    return events


def _is_done(connection: h11.Connection) -> bool:
    ended = {connection.our_state, connection.their_state} == {h11.DONE}
    return ended and connection.trailing_data == (b"", False)


def _read(events: list[h11.Event], reusable: bool) -> Reading | None:
    heads = [event for event in events if isinstance(event, h11.Response)]
    if not heads or not isinstance(events[-1], h11.EndOfMessage):
        return None
    body = b"".join(bytes(event.data) for event in events if isinstance(event, h11.Data))
    fields = tuple((bytes(name), bytes(value)) for name, value in heads[0].headers)
    return Reading(heads[0].status_code, fields, body, reusable)

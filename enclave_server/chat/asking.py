"""Asks upstreams: each question in its upstream's dialect, over its upstream's connections.

An answer is taken only if it is what was asked for; everything else is a fault.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec

from enclave_server.chat.conversation import AnyQuestion, Event, Kind
from enclave_server.chat.dialects.dialect import Account, Dialect, StreamReader, UpstreamRequest
from enclave_server.chat.dialects.table import find_dialect, find_embedding_dialect
from enclave_server.chat.embedding import Embedding
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.joining import Joiner
from enclave_server.chat.large import EVENT_COPIES, LARGE_BYTES, Outside, decode_slice
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.overrun import Overrun
from enclave_server.chat.transcript import MAX_ANSWER_BYTES
from enclave_server.chat.upstream.connections import UpstreamConnections, UpstreamResponse
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.memory import Holding
from protocol.binary_http import Fields
from protocol.registry import JSON, media_type

# Of an error's body, no more than this is read.
MAX_FAULT_BYTES = 64 * 1024

# What a whole answer takes while it is made: as read, its texts, as written, as sealed.
ANSWER_COPIES = 4

# What a client is told to wait when there is no room for its answer.
RETRY_AFTER_SECONDS = 5

USER_AGENT = b"oblivious-inference"


class Asking(msgspec.Struct, frozen=True):
    """A question as it goes to its upstream, once; of what was parsed nothing is kept.

    It would take memory for as long as the upstream thinks. `joins` is how many choices of a stream
    are to be joined, where the answer is wanted whole and asked for as a stream; one that runs far
    beyond `paid_tokens` is ended there.
    """

    connections: UpstreamConnections
    dialect: Dialect
    kind: Kind
    request: UpstreamRequest
    joins: int | None = None
    paid_tokens: int | None = None

    async def whole(self, holding: Holding, outside: Outside | None = None) -> bytes:
        """Return the whole answer as it is said, and take it of `holding` with its copies.

        One that is joined of a stream is in the form of `Joiner.joined`; its large events are read
        `outside`, if there is anybody.

        Raises UpstreamError, also when it has no end, or when there is no room for it.
        """
        response = await self._post(is_stream=self.joins is not None)
        try:
            if self.joins is not None:
                return await self._joined(response, Joiner(self.joins, holding), outside)
            return await _read_whole(response, holding)
        finally:
            await response.close()

    async def _joined(
        self, response: UpstreamResponse, joiner: Joiner, outside: Outside | None
    ) -> bytes:
        reader, overrun = self.dialect.stream(self.kind), Overrun(self.paid_tokens)
        if outside is not None:
            reader.largest = LARGE_BYTES
        while (piece := await response.next_piece()) is not None:
            async for event in _read(reader, piece, joiner, outside):
                joiner.add(event)
                if event.ends:
                    await response.end()
                    return joiner.joined()
                if overrun.is_reached(event):
                    joiner.cut()
                    return joiner.joined()
            joiner.count(reader.kept)
        return joiner.joined()

    async def stream(self) -> tuple[UpstreamResponse, StreamReader]:
        """Return the response that streams the answer, and its reader; raises UpstreamError."""
        return await self._post(is_stream=True), self.dialect.stream(self.kind)

    async def _post(self, *, is_stream: bool) -> UpstreamResponse:
        upstream = self.connections.upstream
        target = f"{upstream.path_prefix}{self.request.path}".encode("ascii")
        fields = _fields(upstream, self.request)
        body = self.request.body
        response = await self.connections.post(target, fields, body, is_stream=is_stream)
        if _is_answer(response, self.request.accept):
            return response
        try:
            raise await self._fault(response)
        finally:
            await response.close()

    async def _fault(self, response: UpstreamResponse) -> UpstreamError:
        if response.status == 200:
            return UpstreamError(Failure.BROKEN)
        body = await response.read_up_to(MAX_FAULT_BYTES)
        return self.dialect.fault(response.status, response.fields, body)


class Upstreams:
    """The upstreams of a table of models, each with its connections and its dialect."""

    def __init__(self, models: ModelTable, repeated: Callable[[], None] = lambda: None) -> None:
        """`repeated` is called for every request that an upstream was asked a second time."""
        self._ways = {
            upstream.name: (UpstreamConnections(upstream, repeated), find_dialect(upstream.dialect))
            for upstream in models.upstreams()
        }

    def account(self, name: str) -> Account | None:
        """Return who pays at the upstream of that name; None if its key is missing."""
        connections, _ = self._ways[name]
        return _account(connections.upstream)

    def accounts(self) -> dict[str, Account | None]:
        """Return who pays at each upstream."""
        return {name: self.account(name) for name in self._ways}

    def ask(
        self,
        model: Model,
        kind: Kind,
        request: UpstreamRequest,
        joins: int | None = None,
        paid_tokens: int | None = None,
    ) -> Asking:
        """Return what asks the upstream of `model`, and joins so many choices if it is to join."""
        connections, dialect = self._ways[model.upstream.name]
        return Asking(connections, dialect, kind, request, joins, paid_tokens)

    def close(self) -> None:
        """Close idle connections."""
        for connections, _ in self._ways.values():
            connections.close()


async def _read(
    reader: StreamReader, piece: bytes, joiner: Joiner, outside: Outside | None
) -> AsyncIterator[Event]:
    """Yield what `piece` completes; of a large event slices, between which the loop goes round."""
    for event in reader.feed(piece):
        if event.large is None or outside is None:
            yield event
            continue
        joiner.count(reader.kept + EVENT_COPIES * len(event.large))
        said, fault = await outside.read(reader, event.large)
        for each in said:
            yield decode_slice(each)
            await asyncio.sleep(0)
        if fault is not None:
            raise fault


async def _read_whole(response: UpstreamResponse, holding: Holding) -> bytes:
    body = bytearray()
    while (piece := await response.next_piece()) is not None:
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            raise UpstreamError(Failure.BROKEN)
        if not holding.takes(ANSWER_COPIES * len(body)):
            raise UpstreamError(Failure.BUSY, retry_after=RETRY_AFTER_SECONDS)
    return bytes(body)


def write_request(question: AnyQuestion, model: Model, account: Account) -> UpstreamRequest:
    """Return `question` as the upstream of `model` is asked it; raises ChatError."""
    return find_dialect(model.upstream.dialect).request(question, model, account)


def write_embedding(question: Embedding, model: Model, account: Account) -> UpstreamRequest:
    """Return `question` as the upstream of `model` is asked it; raises ChatError."""
    return find_embedding_dialect(model.upstream.dialect).embed(question, model, account)


def _account(upstream: Upstream) -> Account | None:
    if upstream.key is None:
        return Account(settings=upstream.account())
    key = upstream.key()
    return None if key is None else Account(key, upstream.account())


def _fields(upstream: Upstream, request: UpstreamRequest) -> Fields:
    """Return all HTTP fields in their order, but for those of the body's length and the connection.

    Nothing in them depends on who asks, when, or with which program.
    """
    return (
        (b"Host", upstream.authority.encode("ascii")),
        (b"Accept", request.accept),
        (b"Accept-Encoding", b"identity"),
        (b"Content-Type", JSON),
        (b"User-Agent", USER_AGENT),
        *request.fields,
    )


def _is_answer(response: UpstreamResponse, accept: bytes) -> bool:
    said = media_type(dict(response.fields).get(b"content-type"))
    return response.status == 200 and said == accept

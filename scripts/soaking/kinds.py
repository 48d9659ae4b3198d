"""The kinds of questions that the load is mixed of; each says how one of it ended.

They are asked by `oblivious_client` as a user has it, by `chat()`, by streams and by `serve`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import httpx

from oblivious_client.client import AsyncObliviousClient, chat_body
from oblivious_client.errors import ServiceError
from protocol.event_stream import DONE
from scripts.soaking import bare
from scripts.soaking.asking import (
    ECHO,
    EMBEDDED,
    SLOW_SECONDS,
    TRIAL,
    Clients,
    Kind,
    Seen,
    judged,
)
from scripts.soaking.judging import Outcome

FEW: dict[str, Any] = {"max_tokens": 12, "temperature": 0}
LARGE_OCTETS = (100_000, 600_000)

# --- by the client


async def whole(clients: Clients, mark: str) -> Seen:
    """An answer in one piece; whether it streams is hidden."""
    answer = await clients.chunked.chat(clients.question(mark), model=ECHO)
    return judged(mark, answer.text)


async def unchunked(clients: Clients, mark: str) -> Seen:
    """The same in the framing of RFC 9458."""
    answer = await clients.whole.chat(clients.question(mark), model=ECHO)
    return judged(mark, answer.text)


async def stream(clients: Clients, mark: str) -> Seen:
    """An answer as it comes: what was shown has to be what was signed."""
    streamed = await clients.chunked.stream(clients.question(mark), model=ECHO)
    shown = "".join([text async for text in streamed])
    if shown != streamed.answer.text:
        return Seen(Outcome.WRONG, said=shown)
    return judged(mark, shown)


async def large(clients: Clients, mark: str) -> Seen:
    """A large question, which a process of its own reads."""
    filler = "lorem " * (clients.chance.randint(*LARGE_OCTETS) // 6)
    question = f"{filler}{clients.question(mark)}"
    return judged(mark, (await clients.chunked.chat(question, model=ECHO)).text)


async def first(clients: Clients, mark: str) -> Seen:
    """The question of a client that has no evidence yet."""
    async with AsyncObliviousClient(clients.relay, policy=TRIAL) as client:
        return judged(mark, (await client.chat(clients.question(mark), model=ECHO)).text)


async def abandoned(clients: Clients, mark: str) -> Seen:
    """A stream that its asker leaves, before or after its first piece."""
    try:
        async with asyncio.timeout(clients.chance.uniform(0.02, 0.8)):
            streamed = await clients.chunked.stream(clients.question(mark), model=ECHO)
            async with aclosing(streamed):
                async for _ in streamed:
                    pass
    except TimeoutError:
        pass
    return Seen(Outcome.LEFT)


async def embedded(clients: Clients, mark: str) -> Seen:
    """A question to the embedded model; the mark is in what is signed, not in what is answered."""
    question = "What is the capital of France?"
    answer = await clients.chunked.chat(question, model=EMBEDDED, user=mark, **FEW)
    return Seen(Outcome.RIGHT if "Paris" in answer.text else Outcome.WRONG, said=answer.text)


async def embedded_stream(clients: Clients, mark: str) -> Seen:
    """The same, as it comes."""
    question = "What is the capital of France?"
    streamed = await clients.chunked.stream(question, model=EMBEDDED, user=mark, **FEW)
    shown = "".join([text async for text in streamed])
    return Seen(Outcome.RIGHT if "Paris" in shown else Outcome.WRONG, said=shown)


REFUSED: Sequence[dict[str, Any]] = (
    {"model": ECHO, "temperature": "warm"},
    {"model": ECHO, "n": 10_000},
    {"model": "no such model"},
    {"model": EMBEDDED, "tools": [{"type": "function", "function": {"name": "any"}}]},
)


async def refused(clients: Clients, mark: str) -> Seen:
    """A question that the enclave refuses, inside the seal."""
    options = clients.chance.choice(REFUSED)
    try:
        await clients.chunked.chat(clients.question(mark), **options)
    except ServiceError as error:
        if error.status in (400, 404):
            return Seen(Outcome.REFUSED, error.status)
        raise
    return Seen(Outcome.WRONG, said="it was answered")


async def slow_reader(clients: Clients, mark: str) -> Seen:
    """A stream that is read more slowly than it comes."""
    streamed = await clients.chunked.stream(clients.question(mark), model=ECHO)
    shown = ""
    async for text in streamed:
        shown += text
        await asyncio.sleep(SLOW_SECONDS)
    return judged(mark, shown)


# --- by `serve`


async def by_serve(clients: Clients, mark: str) -> Seen:
    """A program's question by way of the local endpoint."""
    body = chat_body(clients.question(mark), ECHO, {})
    response = await clients.local.post("/v1/chat/completions", content=body)
    answer = response.json()
    if response.status_code != httpx.codes.OK:
        return _told(response.status_code, answer)
    return judged(mark, answer["choices"][0]["message"]["content"])


async def by_serve_stream(clients: Clients, mark: str) -> Seen:
    """The same, as it comes; whoever hears no end has nothing."""
    body = chat_body(clients.question(mark), ECHO, {"stream": True})
    shown, last = "", ""
    try:
        async with clients.local.stream("POST", "/v1/chat/completions", content=body) as response:
            if response.status_code != httpx.codes.OK:
                return _told(response.status_code, json.loads(await response.aread()))
            async for line in response.aiter_lines():
                last = line.removeprefix("data: ") or last
                shown += _text_of(last) if line else ""
    except httpx.RemoteProtocolError:
        if '"error"' not in last:
            raise
    if last != DONE:
        return _told(502, json.loads(last))
    return judged(mark, shown)


def _text_of(event: str) -> str:
    if event == DONE or '"choices"' not in event:
        return ""
    return "".join(each["delta"].get("content") or "" for each in json.loads(event)["choices"])


def _told(status: int, answer: dict[str, Any]) -> Seen:
    """Return the failure that a program was told of; the service's own errors pass as they are."""
    error = answer["error"]
    own = error["type"] == "oblivious_client_error"
    said = error["message"] if own else f"passed on {status}: {error['message']}"
    return Seen(Outcome.FAILED, said=said)


KINDS = (
    Kind("stream", 22, stream),
    Kind("whole", 16, whole),
    Kind("unchunked", 10, unchunked),
    Kind("large", 5, large),
    Kind("first", 4, first),
    Kind("abandoned", 6, abandoned),
    Kind("embedded", 4, embedded, is_counted=False),
    Kind("embedded stream", 3, embedded_stream, is_counted=False),
    Kind("refused", 6, refused),
    Kind("by serve", 6, by_serve),
    Kind("by serve, stream", 6, by_serve_stream),
    Kind("slow reader", 3, slow_reader),
    Kind("slow upload", 3, bare.slow_upload, is_advised=False),
    Kind("replayed", 3, bare.replayed, is_advised=False),
    Kind("unknown key", 2, bare.unknown_key, is_advised=False),
    Kind("no request", 1, bare.no_request, is_advised=False),
)
LAST = Kind("by serve", 0, by_serve)
PROBES = {
    ECHO: Kind("probe", 0, unchunked),
    EMBEDDED: Kind("embedded probe", 0, embedded, is_counted=False),
}

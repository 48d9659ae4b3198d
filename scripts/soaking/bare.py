"""Kinds of questions that an attacker, a broken program or a bad link would send.

They are sealed here, with the parts of the client, and sent as octets.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy

import httpx

from oblivious_client.client import chat_body
from oblivious_client.exchange import content_in, head_in, inner_request
from oblivious_client.sealing import Framing, seal
from protocol.binary_http import Request, Response, decode_response, encode_request
from protocol.encapsulation import GatewayKey, encapsulate_request
from protocol.key_config import KeyConfig
from protocol.padding import bucket
from scripts.soaking.asking import ECHO, SLOW_SECONDS, Clients, Seen, judged
from scripts.soaking.judging import Outcome

CHAT = b"/v1/chat/completions"


async def slow_upload(clients: Clients, mark: str) -> Seen:
    """A question that comes in pieces, slowly, as over a bad link."""
    return await _with_key(clients, lambda key: _slowly(clients, mark, key))


async def _slowly(clients: Clients, mark: str, key: KeyConfig) -> Seen:
    sealed = seal(key, _inner(clients, mark), Framing.CHUNKED)
    data = b"".join(sealed.pieces)
    cuts = sorted(clients.chance.randrange(len(data)) for _ in range(5))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]

    async def slowly() -> AsyncIterator[bytes]:
        for part in parts:
            yield part
            await asyncio.sleep(SLOW_SECONDS)

    response = await _post(clients, Framing.CHUNKED, slowly())
    if response.status_code != httpx.codes.OK:
        return _status(Outcome.FAILED, response.status_code)
    events = [*sealed.reader.feed(response.content), *sealed.reader.finish()]
    head = head_in(events)
    return _opened(mark, Response(head.status if head else 0, (), content_in(events)))


async def replayed(clients: Clients, mark: str) -> Seen:
    """The very same sealed question twice at once: one is answered, the other refused."""
    return await _with_key(clients, lambda key: _twice(clients, mark, key))


async def _twice(clients: Clients, mark: str, key: KeyConfig) -> Seen:
    inner = _inner(clients, mark)
    plain = encode_request(inner, pad_to=bucket(len(encode_request(inner))))
    data, context = encapsulate_request(key, plain)
    twin = copy(context)  # a context opens one answer, and here come two
    posts = [_post(clients, Framing.WHOLE, data) for _ in range(2)]
    outer = await asyncio.gather(*posts)
    worst = max(each.status_code for each in outer)
    if worst != httpx.codes.OK:
        return _status(Outcome.FAILED, worst)
    inside = [
        decode_response(each.open_response(response.content))
        for each, response in zip((context, twin), outer, strict=True)
    ]
    answer, refusal = sorted(inside, key=lambda each: each.status)
    if refusal.status != httpx.codes.CONFLICT:
        return _status(_of(refusal.status), refusal.status)
    seen = _opened(mark, answer)
    return Seen(seen.outcome, refusal.status, seen.said)


async def unknown_key(clients: Clients, mark: str) -> Seen:
    """A question to a key of another enclave."""
    key = GatewayKey.generate(clients.chance.randrange(256)).config
    sealed = seal(key, _inner(clients, mark), Framing.WHOLE)
    response = await _post(clients, Framing.WHOLE, b"".join(sealed.pieces))
    return _refused_outside(response, 422)


async def no_request(clients: Clients, mark: str) -> Seen:
    """Octets of another type than any sealed request has."""
    response = await clients.bare.post(
        clients.relay, content=mark.encode(), headers={"content-type": "text/plain"}
    )
    return _refused_outside(response, 415)


def _refused_outside(response: httpx.Response, expected: int) -> Seen:
    status = response.status_code
    return _status(Outcome.REFUSED if status == expected else _of(status), status)


def _status(outcome: Outcome, status: int) -> Seen:
    return Seen(outcome, status, f"a status alone: {status}")


def _of(status: int) -> Outcome:
    """Return the outcome of a question that ended with a status which is not the one for it."""
    return Outcome.FAILED if status in (422, 502, 503, 504) else Outcome.WRONG


async def _with_key(clients: Clients, attempt: Callable[[KeyConfig], Awaitable[Seen]]) -> Seen:
    """Ask with the newest attested key, and once more if the gateway does not know it."""
    evidence = await clients.chunked.evidence()
    seen = await attempt(evidence.sealing_config)
    if seen.status != httpx.codes.UNPROCESSABLE_ENTITY:
        return seen
    clients.chunked.transport.source.refuse(evidence)
    return await attempt((await clients.chunked.evidence()).sealing_config)


def _inner(clients: Clients, mark: str) -> Request:
    body = chat_body(clients.question(mark), ECHO, {})
    return inner_request("POST", CHAT, body, now=clients.chunked.transport.source.clock())


async def _post(
    clients: Clients, framing: Framing, content: bytes | AsyncIterator[bytes]
) -> httpx.Response:
    headers = {"content-type": framing.request_type}
    return await clients.bare.post(clients.relay, content=content, headers=headers)


def _opened(mark: str, answer: Response) -> Seen:
    """Return how a question ended whose answer was opened here."""
    if answer.status != httpx.codes.OK:
        return _status(_of(answer.status), answer.status)
    return judged(mark, json.loads(answer.content)["choices"][0]["message"]["content"])

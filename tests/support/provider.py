"""Clients that chat with a stand-in for a provider, through the whole chat service."""

import asyncio
import json
from typing import Any

from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import PLAIN, Profile
from enclave_server.chat.service import ChatService
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.signature import ASKED_FIELD, SigningKeys
from tests.support.upstream import Behaviour, Exchange, Received, StandInUpstream
from tests.support.upstream_connection import upstream_at

DEADLINE = 120.0  # seconds, so that nothing hangs
KEYS = SigningKeys.generate()
CHAT = b"/v1/chat/completions"

Json = dict[str, Any]


def answering_in_turn(media_type: str, *answers: bytes) -> Behaviour:
    """Answer the first request with the first of `answers`, and so on, in small chunks."""
    left = list(answers)

    async def behave(exchange: Exchange) -> None:
        data = left.pop(0)
        await exchange.head(200, f"Content-Type: {media_type}", "Transfer-Encoding: chunked")
        for start in range(0, len(data), 7):
            await exchange.chunk(data[start : start + 7])
        await exchange.chunk(b"")

    return behave


class Chat:
    """A client of one model, whose upstream speaks `dialect` and behaves as it is told."""

    def __init__(self, dialect: str, behaviour: Behaviour, profile: Profile = PLAIN) -> None:
        self._dialect, self._profile = dialect, profile
        self._upstream = StandInUpstream(behaviour)

    @property
    def asked(self) -> list[Received]:
        """What the upstream was asked."""
        return self._upstream.requests

    def exchange(self, *contents: Json, path: bytes = CHAT) -> list[tuple[int, bytes]]:
        """Ask for each of `contents` in turn; return the statuses and bodies of the answers."""
        return asyncio.run(self._exchange(contents, path))

    async def _exchange(self, contents: tuple[Json, ...], path: bytes) -> list[tuple[int, bytes]]:
        async with self._upstream, asyncio.timeout(DEADLINE):
            service = ChatService(self._models(), lambda: KEYS)
            answers = [await _ask(service, path, content) for content in contents]
            service.close()
            return answers

    def _models(self) -> ModelTable:
        upstream = upstream_at(
            self._upstream.address,
            dialect=self._dialect,
            profile=self._profile,
            path_prefix="",
            key=lambda: "k",
        )
        return ModelTable((Model("m", upstream, "eu.anthropic.x", profile=self._profile),))


async def _ask(service: ChatService, path: bytes, content: Json) -> tuple[int, bytes]:
    fields = ((b"content-type", b"application/json"), ASKED_FIELD)
    body = json.dumps({"model": "m", **content}).encode()
    request = Request(b"POST", b"https", b"g", path, fields, body)
    answer = await settled(service.dispatch(request, Delivery.CHUNKED))
    if isinstance(answer, Response):
        return answer.status, answer.content
    return answer.status, b"".join([piece async for piece in answer.content])


def reply_of(answer: tuple[int, bytes]) -> Json:
    """Return the assistant's message of an answer, be it whole or streamed."""
    status, content = answer
    assert status == 200, content
    if content.startswith(b"{"):
        message: Json = json.loads(content)["choices"][0]["message"]
        return message
    message = {"role": "assistant"}
    for event in EventParser().feed(content):
        if event.data != "[DONE]":
            for choice in json.loads(event.data)["choices"]:
                _join(message, choice["delta"])
    return message


def _join(message: Json, delta: Json) -> None:
    for name, value in delta.items():
        if name in ("content", "reasoning_content"):
            message[name] = message.get(name, "") + value
        elif name == "tool_calls":
            message.setdefault(name, []).extend(
                {key: part for key, part in call.items() if key != "index"} for call in value
            )
        elif name == "extra_content":
            message[name] = value

"""Clients that chat with a stand-in for a provider of any dialect, through the whole chat service."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import Profile
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.credentials import Settings
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys, verify_answer
from tests.support.upstream import Behaviour, Exchange, Received, StandInUpstream
from tests.support.upstream_connection import upstream_at

DEADLINE = 120.0  # seconds, so that nothing hangs
KEYS = SigningKeys.generate()
CHAT = b"/v1/chat/completions"

Json = dict[str, Any]


def sending_in_turn(media_type: str, *answers: bytes) -> Behaviour:
    """Answer the first request with the first of `answers`, and so on, in chunks of seven octets."""
    left = list(answers)

    async def behave(exchange: Exchange) -> None:
        data = left.pop(0)
        await exchange.head(200, f"Content-Type: {media_type}", "Transfer-Encoding: chunked")
        for start in range(0, len(data), 7):
            await exchange.chunk(data[start : start + 7])
        await exchange.chunk(b"")

    return behave

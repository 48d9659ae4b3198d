"""Where the CPU time of a request goes: every step again and again, on its own.

In a server a step finds the processor's caches full of the other steps, and costs a third more.
"""

from __future__ import annotations

import asyncio
import os
import time

from enclave_server.addresses import UnixAddress
from enclave_server.chat.conversation import Conversation
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.openai_chat.dialect import OpenAIChat
from enclave_server.chat.models import Model
from enclave_server.chat.surfaces.chat_completions import ChatCompletions
from enclave_server.chat.surfaces.surface import Identity
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.gateway.replay import ReplayFilter
from enclave_server.http.connection import Connection, Shared
from enclave_server.http.dates import parse_date
from enclave_server.http.limits import Limits
from enclave_server.http.messages import OuterRequest, OuterResponse
from enclave_server.log import Log
from protocol.binary_http import Response, decode_request, encode_response, field_value
from protocol.encapsulation import GatewayKey, decapsulate_request
from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from protocol.padding import pad
from protocol.registry import JSON
from protocol.signature import SigningKeys, sign_choices
from scripts.benchmark import exchange, floor, instant_upstream, server
from scripts.benchmark.floor import awaited_microseconds, cpu_microseconds

INNER_PATH = b"/v1/chat/completions"
CAPACITY = 1 << 20
WINDOW = 300


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return CPU microseconds of every step; a quick run measures the same, it takes seconds."""
    measured = _sealed() | asyncio.run(_connection()) | _chat()
    return {name: {"CPU µs": value} for name, value in measured.items()}


def _sealed() -> dict[str, float]:
    """Return what protocol and admission cost."""
    response = Response(200, ((b"content-type", JSON),), b"x" * floor.ANSWER_BYTES)
    replays, now = ReplayFilter(CAPACITY), time.time()
    for _ in range(CAPACITY // 4):  # touches all of the table, which a server has long done
        replays.insert(os.urandom(32), now + WINDOW, now)
    plaintext = _inner_request()
    date = field_value(decode_request(plaintext).headers, b"date") or b""
    return {
        **_mechanism(X25519_HKDF_SHA256, "", response, replays),
        **_mechanism(X_WING, floor.X_WING_ROW, response, replays),
        "decode the inner request": cpu_microseconds(lambda: decode_request(plaintext)),
        "read its date": cpu_microseconds(lambda: parse_date(date)),
        "encode and pad the answer": cpu_microseconds(lambda: pad(encode_response(response))),
    }


def _mechanism(
    kem: Kem, suffix: str, response: Response, replays: ReplayFilter
) -> dict[str, float]:
    """Return what a request costs that was sealed with one mechanism, and its answer."""
    key = GatewayKey.generate(1, kem)
    body = _sealed_body(key)
    answer = pad(encode_response(response))
    before, now = bytes(kem.enc_size - 32), time.time()
    opening = cpu_microseconds(lambda: decapsulate_request([key], body))
    both = cpu_microseconds(lambda: decapsulate_request([key], body)[1].seal_response(answer))
    return {
        f"open the request{suffix}": opening,
        f"seal the answer{suffix}": both - opening,
        f"check that it is no replay{suffix}": cpu_microseconds(
            lambda: replays.insert(before + os.urandom(32), now + WINDOW, now)
        ),
    }


def _sealed_body(key: GatewayKey) -> bytes:
    return server.sealed_post(key.config, INNER_PATH).partition(b"\r\n\r\n")[2]


def _inner_request() -> bytes:
    key = GatewayKey.generate(1)
    return decapsulate_request([key], _sealed_body(key))[0]


class NoSocket(asyncio.Transport):
    """Stands in for the socket of a connection; what is written is gone."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def is_reading(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0


async def _connection() -> dict[str, float]:
    """Return what outer HTTP costs without the kernel, and one turn of the event loop in it."""
    post = server.sealed_post(GatewayKey.generate(1, X_WING).config, INNER_PATH)
    answer = OuterResponse(200, ((b"content-type", b"message/ohttp-res"),), bytes(1072), "ohttp")

    def handle(request: OuterRequest) -> OuterResponse:
        return answer

    shared = Shared(lambda _: handle, Limits(), Log())
    shared.loop = asyncio.get_running_loop()
    shared.read_buffer[: len(post)] = post
    connection = Connection(shared, shared.budget.admit())
    connection.connection_made(NoSocket())

    async def exchange() -> None:
        connection.buffer_updated(len(post))
        await asyncio.sleep(0)

    async def turn() -> None:
        shared.loop.create_task(_nothing())
        await asyncio.sleep(0)

    turning = await awaited_microseconds(turn)
    whole = await awaited_microseconds(exchange)
    return {"a turn of the event loop with a task": turning, "outer HTTP": whole - turning}


async def _nothing() -> None:
    pass


def _chat() -> dict[str, float]:
    """Return what a question to an upstream costs that answers at once."""
    question = server.QUESTION_BODY
    key = SigningKeys.generate().ed25519
    choices = [{"index": 0, "message": {"content": "x" * 300}, "finish_reason": "stop"}]

    def sign() -> dict[str, str | int]:
        return sign_choices(key, question, choices, model="instant", timestamp=1)

    signature = sign()
    identity = Identity("chatcmpl-" + "0" * 24, 1, "instant")
    model = Model("instant", Upstream("instant", UnixAddress("/nowhere")), "instant")
    surface, dialect, account = ChatCompletions(), OpenAIChat(), Account()

    def read() -> bytes:
        return dialect.request(surface.read(question), model, account).body

    def write() -> bytes:
        answer = dialect.read(Conversation, instant_upstream.ANSWER)
        return surface.write(answer, identity, signature)

    return {
        "read, check and scrub the question": cpu_microseconds(read),
        **exchange.measure(read()),
        "sign": cpu_microseconds(sign),
        "read and write the answer": cpu_microseconds(write),
    }

"""The same prompt leaves the same octets in each dialect, whoever asks over whichever surface."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys
from tests.support.upstream import Received, StandInUpstream, hanging_up

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
PDF = "JVBERi0xLjcKJcTl8uXrp/Og0MTG"

Asked = tuple[bytes, dict[str, Any]]


def chat(name: str, **more: Any) -> Asked:
    """Return a question as `name`'s program asks it over chat completions."""
    file = {"file_data": PDF} | ({"filename": f"{name}.pdf"} if more else {})
    function = {"name": "f", "arguments": "{}"}
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Read."}, {"type": "file", "file": file}],
            },
            {
                "role": "assistant",
                "content": "I read.",
                "tool_calls": [{"id": name, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": name, "content": "Rain"},
        ],
        "max_completion_tokens": 9,
        "temperature": 1,
        "tools": [{"type": "function", "function": {"name": "f", "strict": False}}],
        **more,
    }
    return b"/v1/chat/completions", body


def responses(name: str, **more: Any) -> Asked:
    """Return the same question as it is asked over the Responses API."""
    body = {
        "model": "m",
        "instructions": "Be brief.",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "Read."},
                    {"type": "input_file", "filename": f"{name}.pdf", "file_data": PDF},
                ],
            },
            {
                "type": "message",
                "id": f"msg_{name}",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "I read.", "annotations": []}],
            },
            {
                "type": "function_call",
                "id": f"fc_{name}",
                "call_id": name,
                "name": "f",
                "arguments": "{}",
            },
            {"type": "function_call_output", "call_id": name, "output": "Rain"},
        ],
        "max_output_tokens": 9,
        "temperature": 1.0,
        "tools": [{"type": "function", "name": "f", "strict": False}],
        **more,
    }
    return b"/v1/responses", body


TALKATIVE = dict.fromkeys(sorted(dropped.OF_REQUEST - {"store"}), "ada")


def received(dialect: str, *asked: Asked) -> list[Received]:
    async def scenario() -> list[Received]:
        async with StandInUpstream(hanging_up) as upstream, asyncio.timeout(DEADLINE):
            place = Upstream("u", parse_address(upstream.address), dialect=dialect)
            model = Model("m", place, "there")
            service = ChatService(ModelTable((model,)), lambda: KEYS)
            headers = ((b"content-type", b"application/json"),)
            for path, body in asked:
                content = json.dumps(body).encode()
                request = Request(b"POST", b"https", b"g", path, headers, content)
                await settled(service.dispatch(request, Delivery.WHOLE))
            service.close()
            return upstream.requests

    return asyncio.run(scenario())


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "gemini"])
def test_identical_prompts_leave_identical_requests(dialect: str) -> None:
    one, *others = received(
        dialect,
        chat("bob"),
        chat("ada", **TALKATIVE),
        responses("bob", store=False),
        responses("ada", **TALKATIVE, client_metadata={"user": "ada"}),
    )
    assert len(others) == 3
    for other in others:
        assert (other.head, other.body) == (one.head, one.body)
        assert b"ada" not in other.head + other.body
        assert b"bob" not in other.head + other.body

"""The same prompt leaves the same octets in each dialect, whoever asks over whichever surface."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.dialects.table import DIALECTS
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

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"name": "f", "strict": False}

Asked = tuple[bytes, dict[str, Any]]


def chat(name: str, **more: Any) -> Asked:
    """Return a question as `name`'s program asks it over chat completions."""
    file = {"file_data": PDF} | ({"filename": f"{name}.pdf"} if more else {})
    function = {"name": "f", "arguments": '{"a": 1}'}
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
        "tools": [{"type": "function", "function": {**TOOL, "parameters": SCHEMA}}],
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
                "arguments": '{ "a":1 }',
            },
            {"type": "function_call_output", "call_id": name, "output": "Rain"},
        ],
        "max_output_tokens": 9,
        "temperature": 1.0,
        "tools": [{"type": "function", **TOOL, "parameters": SCHEMA}],
        **more,
    }
    return b"/v1/responses", body


def messages(name: str, **more: Any) -> Asked:
    """Return the same question as it is asked over Anthropic's Messages API."""
    source = {"type": "base64", "media_type": "application/pdf", "data": PDF}
    document = {"type": "document", "source": source, **({"title": name} if more else {})}
    call = {"type": "tool_use", "id": name, "name": "f", "input": {"a": 1}}
    body = {
        "model": "m",
        "system": "Be brief.",
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Read."}, document]},
            {"role": "assistant", "content": [{"type": "text", "text": "I read."}, call]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": name, "content": "Rain"}],
            },
        ],
        "max_tokens": 9,
        "temperature": 1,
        "tools": [{**TOOL, "input_schema": SCHEMA}],
        **more,
    }
    return b"/v1/messages", body


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


@pytest.mark.parametrize("dialect", sorted(DIALECTS))
def test_identical_prompts_leave_identical_requests(dialect: str) -> None:
    one, *others = received(
        dialect,
        chat("bob"),
        chat("ada", **TALKATIVE),
        chat("ada", max_completion_tokens=None, max_tokens=9, temperature=1.0),
        responses("bob", store=False),
        responses("ada", **TALKATIVE, client_metadata={"user": "ada"}),
        messages("bob"),
        messages("ada", metadata={"user_id": "ada"}, container="ada", stop_sequences=[]),
    )
    assert len(others) == 6
    for other in others:
        assert (other.head, other.body) == (one.head, one.body)
        assert b"ada" not in other.head + other.body
        assert b"bob" not in other.head + other.body


def prompts(name: str, **more: Any) -> Asked:
    """Return a prompt as `name`'s program has it continued."""
    return b"/v1/completions", {"model": "m", "prompt": "Once", "max_tokens": 9, **more}


def test_identical_prompts_to_continue_leave_identical_requests() -> None:
    one, other, another = received(
        "openai-chat", prompts("bob"), prompts("ada", **TALKATIVE), prompts("ada", stop=None)
    )
    assert (one.head, one.body) == (other.head, other.body) == (another.head, another.body)
    assert b"ada" not in other.head + other.body


STOPPED: dict[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": {"max_tokens": 9, "stop": ["END"]},
    b"/v1/messages": {"max_tokens": 9, "stop_sequences": ["END"]},
}


@pytest.mark.parametrize("dialect", sorted({*DIALECTS} - {"openai-responses"}))
def test_one_stop_is_a_list_of_one(dialect: str) -> None:
    said = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    asked = [(path, said | members) for path, members in STOPPED.items()]
    path, _ = asked[0]
    one, *others = received(dialect, *asked, (path, said | {"max_tokens": 9, "stop": "END"}))
    assert all((other.head, other.body) == (one.head, one.body) for other in others)
    assert len(others) == 2

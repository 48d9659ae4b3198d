"""The Responses API inside the seal: asked, answered, streamed and refused, over any dialect."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.service import ChatService
from enclave_server.chat.surfaces.responses import Responses
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import parse_config
from enclave_server.processes.catalogue import build_models
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys, verify_choices
from tests.support import responses_server
from tests.support.responses_server import call, message, reasoning, text
from tests.support.upstream import Behaviour, StandInUpstream, sending, streaming

Json = dict[str, Any]

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs

CONFIGURATION = """
[[models]]
name = "m"
upstream = "provider"
upstream_name = "name-there"
[upstreams.provider]
address = "{address}"
dialect = "openai-responses"
"""

SAID = responses_server.response(
    reasoning("Why", encrypted_content="AB=="), message(text("I look.")), call("f", '{"a":1}')
)


def request(**members: Any) -> Request:
    content = json.dumps({"model": "m", "input": "Weather?", **members}).encode()
    fields = ((b"content-type", b"application/json"), (b"tee-signature", b"ed25519"))
    return Request(b"POST", b"https", b"g", b"/v1/responses", fields, content)


def exchange(behaviour: Behaviour, asked: Request) -> tuple[int, bytes, StandInUpstream]:
    async def scenario() -> tuple[int, bytes, StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            config = parse_config(CONFIGURATION.format(address=upstream.address))
            models = build_models(config, "engine.sock", ProvisionedKeys())
            service = ChatService(models, lambda: KEYS)
            answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
            if isinstance(answer, Response):
                content = answer.content
            else:
                content = b"".join([piece async for piece in answer.content])
            service.close()
            return answer.status, content, upstream

    return asyncio.run(scenario())


def signed_choice(response: Json) -> Json:
    """Return what is signed of an answer, by the words of docs/protocol.md."""
    output = response["output"]
    parts = [part for item in output if item["type"] == "message" for part in item["content"]]
    thought = [part["text"] for item in output for part in item.get("summary", ())]
    calls = [
        {"id": item["call_id"], "function": {name: item[name] for name in ("name", "arguments")}}
        for item in output
        if item["type"] == "function_call"
    ]
    return {
        "index": 0,
        "content": "".join(part.get("text", "") for part in parts),
        "reasoning_content": "".join(thought),
        "tool_calls": calls,
        "finish_reason": "tool_calls" if calls else "stop",
    }


@pytest.mark.parametrize("stream", [False, True])
def test_answer_is_signed_and_goes_on_from_its_items(stream: bool) -> None:
    events = responses_server.encode(responses_server.events_of(SAID))
    behaviour = streaming([events]) if stream else sending(200, SAID)
    asked = request(stream=stream)
    status, content, upstream = exchange(behaviour, asked)
    assert status == 200
    if stream:
        content = json.dumps(json.loads(EventParser().feed(content)[-1].data)["response"]).encode()
    response = json.loads(content)
    verify_choices(KEYS.public_keys, asked.content, [signed_choice(response)], response)
    sent = upstream.requests[0]
    assert sent.target == "/v1/responses"
    assert sent.json["store"] is False
    again = [
        {"role": "user", "content": "Weather?"},
        *response["output"],
        {"type": "function_call_output", "call_id": "call_1", "output": "Rain"},
    ]
    _, _, upstream = exchange(sending(200, SAID), request(input=again))
    _, thought, said, called, result = upstream.requests[0].json["input"]
    assert thought == reasoning("Why", encrypted_content="AB==")
    assert said["content"] == "I look."
    assert called["call_id"] == result["call_id"] == "call00000"


def test_refusals_are_told_before_anybody_is_asked() -> None:
    status, content, upstream = exchange(sending(200, SAID), request(store=True))
    error = json.loads(content)["error"]
    assert (status, error["param"], upstream.requests) == (400, "store", [])


def test_failures_have_the_same_shape() -> None:
    status, content, _ = exchange(sending(503, {}), request())
    assert (status, json.loads(content)["error"]["code"]) == (503, "overloaded")
    busy = [responses_server.encode([{"type": "error", "code": "429"}], typed=False)]
    _, content, _ = exchange(streaming(busy), request(stream=True))
    (event,) = EventParser().feed(content)
    assert event.type == "response.failed"
    assert json.loads(event.data)["response"]["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize(
    ("error", "message", "param"),
    [
        (
            invalid("'messages[2].tool_calls[0]' has no result.", "messages[2].tool_calls[0]"),
            "'input' has no result.",
            "input",
        ),
        (
            invalid("'max_tokens' is too much; see messages.", "max_tokens"),
            "'max_output_tokens' is too much; see messages.",
            "max_output_tokens",
        ),
        (invalid("No.", "reasoning_effort"), "No.", "reasoning.effort"),
        (invalid("'tools' are too many.", "tools"), "'tools' are too many.", "tools"),
        (invalid("No.", "messages_of_mine"), "No.", "messages_of_mine"),
        (invalid("No 'messages'.", "messages", "unknown_parameter"), "No 'messages'.", "messages"),
        (invalid("No."), "No.", None),
    ],
    ids=str,
)
def test_refusals_name_members_as_they_are_called_here(
    error: ChatError, message: str, param: str | None
) -> None:
    told = json.loads(Responses().refuse(error).content)["error"]
    assert (told["message"], told["param"]) == (message, param)

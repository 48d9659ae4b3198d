"""The dialect put together, and through the whole service; its parts have tests of their own."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation, Message
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.gemini.dialect import Gemini
from enclave_server.chat.dialects.table import find_dialect
from enclave_server.chat.errors import Failure
from enclave_server.chat.models import Model
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import parse_config
from enclave_server.processes.catalogue import build_models
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.registry import JSON
from protocol.signature import SigningKeys, verify_choices
from tests.support.gemini_server import (
    SIGNATURE,
    call,
    candidate,
    encode,
    events_of,
    response,
    text,
    thought,
)
from tests.support.upstream import Behaviour, StandInUpstream, sending, streaming
from tests.support.upstream_connection import upstream_at

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs

CONFIGURATION = """
[[models]]
name = "m"
upstream = "google"
upstream_name = "gemini-3-pro"
[upstreams.google]
address = "{address}"
path_prefix = "/v1beta"
dialect = "gemini"
profile = "{profile}"
"""

SAID = response(
    candidate(thought("Rain, so"), text("I look."), call("f", {"a": 1}, thoughtSignature=SIGNATURE))
)
WEATHER = {"role": "user", "content": "Weather?"}


def test_question_answer_stream_and_fault() -> None:
    dialect, model = find_dialect("gemini"), Model("m", upstream_at("unix:/x"), "gemini-3-pro")
    assert isinstance(dialect, Gemini)
    question = Conversation(model="m", messages=[Message("user", "Hello")])
    request = dialect.request(question, model, Account("k"))
    assert (request.path, request.accept) == ("/models/gemini-3-pro:generateContent", JSON)
    assert request.fields == ((b"x-goog-api-key", b"k"),)
    answer = response(candidate(text("Paris.")))
    body = json.dumps(answer).encode()
    assert dialect.read(Conversation, body).choices[0].message.content == "Paris."
    events = [*dialect.stream(Conversation).feed(encode(events_of(answer)))]
    assert events[-1].choices[0].finish_reason == "stop"
    assert dialect.fault(503, (), b"").failure is Failure.BUSY


def exchange(
    behaviour: Behaviour, profile: str, **members: Any
) -> tuple[bytes, dict[str, Any], StandInUpstream]:
    """Return what was asked, the answer joined or whole, and the upstream."""
    content = json.dumps({"model": "m", "messages": [WEATHER], **members}).encode()
    fields = ((b"content-type", b"application/json"), (b"tee-signature", b"ed25519"))
    asked = Request(b"POST", b"https", b"g", b"/v1/chat/completions", fields, content)

    async def scenario() -> tuple[bytes, dict[str, Any], StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            text = CONFIGURATION.format(address=upstream.address, profile=profile)
            models = build_models(parse_config(text), "engine.sock", ProvisionedKeys())
            service = ChatService(models, lambda: KEYS)
            answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
            if isinstance(answer, Response):
                body = json.loads(answer.content)
            else:
                pieces = b"".join([piece async for piece in answer.content])
                body = _joined([event.data for event in EventParser().feed(pieces)])
            service.close()
            return content, body, upstream

    return asyncio.run(scenario())


def _joined(events: list[str]) -> dict[str, Any]:
    """Return a stream of one choice as if it had come whole."""
    *chunks, done = events
    assert done == "[DONE]"
    bodies = [json.loads(chunk) for chunk in chunks]
    call: dict[str, Any] = {"function": {"arguments": ""}}
    message: dict[str, Any] = {"content": "", "reasoning_content": "", "tool_calls": [call]}
    reasons = []
    for part in (part for body in bodies for part in body["choices"]):
        for name in ("content", "reasoning_content"):
            message[name] += part["delta"].get(name) or ""
        for each in part["delta"].get("tool_calls", ()):
            said = call["function"]["arguments"] + each["function"]["arguments"]
            call["function"] |= each["function"] | {"arguments": said}
            call |= {name: each[name] for name in each if name not in ("index", "function")}
        reasons.append(part["finish_reason"])
    choice = {"index": 0, "message": message, "finish_reason": reasons[-1]}
    return {**bodies[-1], "choices": [choice]}


@pytest.mark.parametrize(
    ("profile", "stream"), [("plain", False), ("gemini", False), ("gemini", True)]
)
def test_answer_is_signed_and_goes_on_from_its_signatures(profile: str, stream: bool) -> None:
    is_streamed = stream or profile == "gemini"
    said = streaming([encode(events_of(SAID))]) if is_streamed else sending(200, SAID)
    asked, body, upstream = exchange(said, profile, stream=stream)
    (choice,) = body["choices"]
    verify_choices(KEYS.public_keys, asked, [choice], body)
    message = choice["message"]
    assert (message["content"], message["reasoning_content"]) == ("I look.", "Rain, so")
    assert choice["finish_reason"] == "tool_calls"
    word = "streamGenerateContent?alt=sse" if is_streamed else "generateContent"
    assert upstream.requests[0].target == f"/v1beta/models/gemini-3-pro:{word}"

    (called,) = message["tool_calls"]
    result = {"role": "tool", "tool_call_id": called["id"], "content": "Rain"}
    again = [WEATHER, {"role": "assistant", **message}, result]
    _, _, upstream = exchange(sending(400, {}), "plain", messages=again)
    assert upstream.requests[0].json["contents"] == [
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {
            "role": "model",
            "parts": [
                {"text": "I look."},
                {
                    "functionCall": {"name": "f", "args": {"a": 1}},
                    "thoughtSignature": SIGNATURE,
                },
            ],
        },
        {
            "role": "user",
            "parts": [{"functionResponse": {"name": "f", "response": {"result": "Rain"}}}],
        },
    ]

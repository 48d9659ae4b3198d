"""A second dialect works by its line in the table: asked, answered, streamed and refused in it."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from enclave_server.chat.conversation import Conversation, Message, State, Text, ToolCall
from enclave_server.chat.dialects.dialect import Account
from enclave_server.chat.dialects.table import (
    DIALECTS,
    EMBEDDING_DIALECTS,
    find_dialect,
    find_embedding_dialect,
)
from enclave_server.chat.models import Model
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.credentials import ProvisionedKeys
from enclave_server.config import parse_config
from enclave_server.processes.catalogue import build_models
from protocol.binary_http import Request, Response
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys, verify_choices
from tests.support.parley import LINES, NAME, WHOLE, Parley
from tests.support.upstream import Behaviour, Exchange, StandInUpstream, sending
from tests.support.upstream_connection import upstream_at

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
MARK = "a mark of the provider's"

CONFIGURATION = """
[[models]]
name = "m"
upstream = "provider"
upstream_name = "name-there"
[upstreams.provider]
address = "{address}"
path_prefix = "/beta"
key_env = "PARLEY_KEY"
dialect = "parley"
"""

ASKED: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "x", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "x", "content": "Rain"},
    ],
}


@pytest.fixture(autouse=True)
def parley(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DIALECTS, NAME, Parley())
    monkeypatch.setenv("PARLEY_KEY", "sk-parley")


def request(path: bytes = b"/v1/chat/completions", **changes: Any) -> Request:
    content = json.dumps(ASKED | changes).encode()
    return Request(
        b"POST", b"https", b"g", path, ((b"content-type", b"application/json"),), content
    )


async def ask(upstream: StandInUpstream, asked: Request) -> tuple[int, bytes]:
    config = parse_config(CONFIGURATION.format(address=upstream.address))
    models = build_models(config, "engine.sock", ProvisionedKeys())
    service = ChatService(models, lambda: KEYS)
    async with asyncio.timeout(DEADLINE):
        answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
        if isinstance(answer, Response):
            content = answer.content
        else:
            content = b"".join([piece async for piece in answer.content])
    service.close()
    return answer.status, content


def exchange(behaviour: Behaviour, asked: Request) -> tuple[int, bytes, StandInUpstream]:
    async def scenario() -> tuple[int, bytes, StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream:
            return *await ask(upstream, asked), upstream

    return asyncio.run(scenario())


def whole(status: int, body: object) -> Behaviour:
    return sending(status, body, f"Content-Type: {WHOLE.decode()}")


def lines(*events: Sequence[Any]) -> Behaviour:
    data = b"".join(json.dumps(event).encode() + b"\n" for event in events)

    async def behave(exchange: Exchange) -> None:
        await exchange.head(200, f"Content-Type: {LINES.decode()}", "Transfer-Encoding: chunked")
        for start in range(0, len(data), 7):
            await exchange.chunk(data[start : start + 7])
        await exchange.chunk(b"")

    return behave


def test_question_is_asked_in_the_dialect() -> None:
    _, _, upstream = exchange(whole(200, {}), request())
    received = upstream.requests[0]
    assert received.target == "/beta/speak"
    assert received.fields.keys() == {
        "host",
        "accept",
        "accept-encoding",
        "content-type",
        "user-agent",
        "x-parley-version",
        "x-parley-key",
        "content-length",
    }
    assert received.fields["x-parley-key"] == "sk-parley"
    assert received.json == {
        "engine": "name-there",
        "turns": [
            ["stage", "Be brief."],
            ["you", "Weather?"],
            ["wish", 0, "f", {"a": 1}],
            ["wish granted", 0, "Rain"],
        ],
        "ceiling": 9,
        "heat": None,
        "voices": 1,
    }


def test_whole_answer_is_signed_in_the_surface_of_who_asks() -> None:
    voices = [
        {"no": 0, "says": "Wet.", "why": "called", "wishes": [["w1", "f", {"a": 2}]], "mark": MARK}
    ]
    asked = request()
    status, content, _ = exchange(whole(200, {"voices": voices, "units": [5, 7]}), asked)
    body = json.loads(content)
    (choice,) = body["choices"]
    assert status == 200
    assert choice["message"]["content"] == "Wet."
    assert choice["message"]["tool_calls"] == [
        {"id": "w1", "function": {"name": "f", "arguments": '{"a": 2}'}, "type": "function"}
    ]
    assert choice["finish_reason"] == "tool_calls"
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    assert MARK.encode() not in content
    verify_choices(KEYS.public_keys, asked.content, [choice], body)


def test_streamed_answer_is_signed_in_the_surface_of_who_asks() -> None:
    asked = request(stream=True, stream_options={"include_usage": True}, n=2)
    status, content, _ = exchange(
        lines(
            ["say", 0, "It "],
            ["say", 1, "Rain."],
            ["mark", 0, MARK],
            ["why", 1, "cut"],
            ["say", 0, "rains."],
            ["wish", 0, "w1", "f", {"a": 2}],
            ["units", 5, 7],
            ["why", 0, "done"],
            ["over"],
            ["say", 0, "after the end"],
        ),
        asked,
    )
    assert status == 200
    *events, last = [event.data for event in EventParser().feed(content)]
    assert last == "[DONE]"
    objects = [json.loads(event) for event in events]
    parts = [part for item in objects for part in item["choices"] if part["index"] == 0]
    said = [part["delta"].get("content") for part in parts]
    assert said[:3] == ["It ", None, "rains."]
    assert parts[1]["delta"]["extra_content"].keys() == {"oblivious"}
    assert objects[-1]["usage"]["total_tokens"] == 12
    assert {part["finish_reason"] for item in objects for part in item["choices"]} == {
        None,
        "length",
        "stop",
    }
    assert MARK.encode() not in content
    call = {"id": "w1", "type": "function", "function": {"name": "f", "arguments": '{"a": 2}'}}
    signed: list[dict[str, Any]] = [
        {"index": 0, "content": "It rains.", "tool_calls": [call], "finish_reason": "stop"},
        {"index": 1, "content": "Rain.", "finish_reason": "length"},
    ]
    verify_choices(KEYS.public_keys, asked.content, signed, objects[-1])


def test_a_state_comes_back_to_the_model_that_gave_it() -> None:
    voices = [{"no": 0, "says": "Wet.", "why": "done", "mark": MARK}]
    _, content, _ = exchange(whole(200, {"voices": voices, "units": [5, 7]}), request())
    given = json.loads(content)["choices"][0]["message"]
    asked = request(messages=[*ASKED["messages"], given, {"role": "user", "content": "And?"}])
    _, _, upstream = exchange(whole(200, {}), asked)
    assert upstream.requests[0].json["turns"][-2:] == [["it", "Wet.", MARK], ["you", "And?"]]


FAILURES = {
    "a fault that it names": (whole(418, {"oops": "crowded"}), 503, "overloaded"),
    "a fault of the question": (whole(499, {"oops": "windy"}), 400, "context_length_exceeded"),
    "garbage for a fault": (whole(400, b"\xff"), 502, "upstream_failed"),
    "garbage for an answer": (whole(200, b"\xff"), 502, "upstream_failed"),
    "another dialect's answer": (sending(200, {"choices": []}), 502, "upstream_failed"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_told_in_the_surface_of_who_asks(case: str) -> None:
    behaviour, status, code = FAILURES[case]
    answered, content, _ = exchange(behaviour, request())
    assert (answered, json.loads(content)["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    ("last", "code"),
    [
        (["oops", "crowded"], "overloaded"),
        (["hum"], "upstream_failed"),
        (["say", 1, "one voice too many"], "upstream_failed"),
    ],
)
def test_failure_in_mid_stream_ends_it(last: list[Any], code: str) -> None:
    _, content, _ = exchange(lines(["say", 0, "It"], last, ["over"]), request(stream=True))
    *_, error = [json.loads(event.data) for event in EventParser().feed(content)]
    assert error["error"]["code"] == code
    assert b'"It"' in content
    assert b"tee_signature" not in content


def test_what_a_dialect_cannot_say_is_refused_before_anybody_is_asked() -> None:
    asked = request(b"/v1/completions", prompt="x", messages=None)
    status, content, upstream = exchange(whole(200, {}), asked)
    assert (status, json.loads(content)["error"]["param"]) == (400, "prompt")
    assert upstream.requests == []


STATES = [State(NAME, b"ours"), State("another", b"theirs"), None]


def conversation(state: State | None) -> Conversation:
    call = ToolCall(0, "f", "{}", state)
    return Conversation(
        model="m", messages=[Message("assistant", [Text("x", state)], calls=[call])]
    )


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("dialect", [NAME, "openai-chat"])
def test_state_goes_to_the_dialect_that_made_it_and_to_no_other(
    dialect: str, state: State | None
) -> None:
    model = Model("m", upstream_at("unix:/nowhere"), "there")
    body = find_dialect(dialect).request(conversation(state), model, Account()).body
    assert (b"ours" in body) == (dialect == NAME and state is STATES[0])
    assert b"theirs" not in body


def test_unknown_dialect_is_named_with_those_there_are() -> None:
    config = parse_config(CONFIGURATION.format(address="unix:/x").replace("parley", "parlando"))
    with pytest.raises(ValueError, match="'provider': there is no dialect 'parlando', only ant"):
        build_models(config, "engine.sock", ProvisionedKeys())


def test_those_that_make_embeddings_are_found_by_their_names() -> None:
    for name in ("gemini", "openai-chat"):
        assert find_embedding_dialect(name) is EMBEDDING_DIALECTS[name]
        assert find_dialect(name) is DIALECTS[name]
    with pytest.raises(ValueError, match="'bedrock' makes no embeddings"):
        find_embedding_dialect("bedrock")

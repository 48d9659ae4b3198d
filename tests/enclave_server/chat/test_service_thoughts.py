"""What a model thought, and states: told where they are signed, withheld where they cannot be."""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.addresses import parse_address
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.profiles import PROFILES
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request, Response
from protocol.errors import SignatureInvalid
from protocol.event_stream import EventParser
from protocol.gateway import Delivery, settled
from protocol.signature import ASKED_FIELD, SigningKeys, verify_choices
from tests.support.upstream import (
    DONE,
    Behaviour,
    StandInUpstream,
    chunk_of,
    completion,
    event,
    sending,
    streaming,
    streaming_then_closing,
)

KEYS = SigningKeys.generate()
DEADLINE = 120.0  # seconds, so that nothing hangs
HELLO: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
DETAILS = [{"type": "reasoning.text", "text": "I wonder"}]
THOUGHT = {
    "role": "assistant",
    "content": "4",
    "reasoning": "I wonder",
    "reasoning_details": DETAILS,
}


def request(*fields: tuple[bytes, bytes], **changes: Any) -> Request:
    content = json.dumps(HELLO | changes).encode()
    headers = ((b"content-type", b"application/json"), *fields)
    return Request(b"POST", b"https", b"g", b"/v1/chat/completions", headers, content)


def ask(
    behaviour: Behaviour, asked: Request, profile: str = "plain", version: int = 1
) -> tuple[int, bytes, StandInUpstream]:
    """Return status and content of the answer to `asked`, and the upstream."""

    async def scenario() -> tuple[int, bytes, StandInUpstream]:
        async with StandInUpstream(behaviour) as upstream, asyncio.timeout(DEADLINE):
            place = Upstream("u", parse_address(upstream.address))
            model = Model("m", place, "there", profile=PROFILES[profile])
            service = ChatService(ModelTable((model,)), lambda: KEYS, version=version)
            answer = await settled(service.dispatch(asked, Delivery.CHUNKED))
            if isinstance(answer, Response):
                content = answer.content
            else:
                content = b"".join([piece async for piece in answer.content])
            service.close()
        return answer.status, content, upstream

    return asyncio.run(scenario())


def whole() -> Behaviour:
    return sending(200, completion("", choices=[{"index": 0, "message": THOUGHT}]))


def chunks() -> list[bytes]:
    return [
        event(chunk_of({"role": "assistant", "reasoning": "I won", "reasoning_details": DETAILS})),
        event(chunk_of({"reasoning_content": "der"})),
        event(chunk_of({"content": "4"}, "stop")),
        DONE,
    ]


def objects(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(item.data) for item in EventParser().feed(content) if item.data != "[DONE]"]


def test_whole_thoughts_are_signed() -> None:
    asked = request(ASKED_FIELD)
    _, content, _ = ask(whole(), asked)
    body = json.loads(content)
    (choice,) = body["choices"]
    assert choice["message"]["reasoning_content"] == "I wonder"
    assert choice["message"]["extra_content"]["oblivious"]["state"]
    verify_choices(KEYS.public_keys, asked.content, [choice], body)
    choice["message"]["reasoning_content"] = "I know"
    with pytest.raises(SignatureInvalid):
        verify_choices(KEYS.public_keys, asked.content, [choice], body)


def test_streamed_thoughts_are_signed() -> None:
    asked = request(ASKED_FIELD, stream=True)
    _, content, _ = ask(streaming(chunks()), asked)
    told = objects(content)
    deltas = [part["delta"] for item in told for part in item["choices"]]
    assert "".join(delta.get("reasoning_content", "") for delta in deltas) == "I wonder"
    assert [delta for delta in deltas if "extra_content" in delta]
    assert told[-1]["choices"][0]["finish_reason"] == "stop"
    said = {"index": 0, "content": "4", "reasoning_content": "I wonder", "finish_reason": "stop"}
    verify_choices(KEYS.public_keys, asked.content, [said], told[-1])


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_and_states_that_nobody_would_sign_are_withheld(stream: bool) -> None:
    asked = request(stream=stream)
    _, content, _ = ask(streaming(chunks()) if stream else whole(), asked)
    for word in (b"wonder", b"I won", b"reasoning_content", b"extra_content"):
        assert word not in content
    last = objects(content)[-1] if stream else json.loads(content)
    assert "tee_signature_version" not in last
    said = {"index": 0, "content": "4", "finish_reason": "stop"}
    verify_choices(KEYS.public_keys, asked.content, [said], last)


def test_a_state_returns_to_who_gave_it() -> None:
    _, content, _ = ask(whole(), request(ASKED_FIELD), "openrouter")
    given = json.loads(content)["choices"][0]["message"]
    again = request(messages=[*HELLO["messages"], given, *HELLO["messages"]])
    for profile, details in (("openrouter", DETAILS), ("plain", None)):
        _, _, upstream = ask(whole(), again, profile)
        sent = upstream.requests[0].json["messages"][1]
        assert sent.get("reasoning_details") == details
        assert {"reasoning_content", "extra_content"}.isdisjoint(sent)


# A whole answer out of a stream.


def test_a_whole_answer_is_asked_for_as_a_stream_where_the_provider_streams() -> None:
    usage = completion("")["usage"]
    given = [*chunks()[:-1], event({"choices": [], "usage": usage}), DONE]
    asked = request(ASKED_FIELD)
    status, content, upstream = ask(streaming(given), asked, "openai")
    sent = upstream.requests[0]
    assert (sent.json["stream"], sent.json["stream_options"]) == (True, {"include_usage": True})
    assert sent.fields["accept"] == "text/event-stream"
    body = json.loads(content)
    (choice,) = body["choices"]
    assert status == 200
    assert body["object"] == "chat.completion"
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == (
        "4",
        "I wonder",
    )
    assert body["usage"]["total_tokens"] == 12
    verify_choices(KEYS.public_keys, asked.content, [choice], body)


FAILING: dict[str, tuple[Behaviour, int, str]] = {
    "it is cut": (streaming_then_closing(chunks()[:2]), 502, "upstream_failed"),
    "it fails amid": (
        streaming([*chunks()[:2], event({"error": {"code": 429}})]),
        429,
        "rate_limit_exceeded",
    ),
    "it is refused": (sending(400, {"error": {"code": "content_filter"}}), 400, "content_filter"),
    "it is no stream": (whole(), 502, "upstream_failed"),
}


@pytest.mark.parametrize("case", FAILING)
def test_a_stream_that_does_not_end_well_is_an_error_with_its_status(case: str) -> None:
    behaviour, status, code = FAILING[case]
    answered, content, _ = ask(behaviour, request(), "openai")
    assert (answered, json.loads(content)["error"]["code"]) == (status, code)


@pytest.mark.parametrize("profile", ["plain", "openai"])
def test_two_calls_in_one_are_never_signed(profile: str) -> None:
    function = {"name": "f", "arguments": '{"x":1}{"y":2}'}
    call = {"index": 0, "id": "a", "type": "function", "function": function}
    joined = {"role": "assistant", "content": None, "tool_calls": [call]}
    behaviour = (
        streaming([event(chunk_of(joined, "tool_calls")), DONE])
        if profile == "openai"
        else sending(200, completion("", choices=[{"index": 0, "message": joined}]))
    )
    status, content, _ = ask(behaviour, request(), profile)
    assert (status, json.loads(content)["error"]["code"]) == (502, "tool_use_failed")

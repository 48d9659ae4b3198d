"""The Messages API as Anthropic's own SDK uses it, over upstreams of any dialect."""

import json
from typing import Any

import httpx2
import pytest
from anthropic import Anthropic, APIStatusError

from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.preparing import Job, count, prepare
from enclave_server.chat.surfaces.messages import Messages
from protocol.event_stream import EventParser
from protocol.signature import verify_choices
from tests.support.anthropic_messages import CALL, HIDDEN, OTHER_CALL, TEXT, THOUGHT, answered, sse
from tests.support.provider import KEYS, Chat, answering_in_turn
from tests.support.upstream import Behaviour, answering, sending
from tests.support.upstream_connection import upstream_at

PATH = b"/v1/messages"
THINKING = [HIDDEN, TEXT, THOUGHT, CALL, OTHER_CALL]
QUESTION: list[Any] = [{"role": "user", "content": "Weather?"}]
TOOL: Any = {"name": "rain", "input_schema": {"type": "object"}}


class Sdk:
    """Anthropic's client, whose requests go to a chat service over a stand-in upstream."""

    def __init__(self, dialect: str, behaviour: Behaviour) -> None:
        self.chat = Chat(dialect, behaviour)
        self.exchanged: list[tuple[bytes, bytes]] = []
        transport = httpx2.MockTransport(self._answer)
        self.client = Anthropic(
            api_key="x", max_retries=0, http_client=httpx2.Client(transport=transport)
        )

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        sent = json.loads(request.content)
        ((status, content),) = self.chat.exchange(sent, path=request.url.path.encode())
        self.exchanged.append((json.dumps({"model": "m", **sent}).encode(), content))
        kind = "application/json" if content.startswith(b"{") else "text/event-stream"
        return httpx2.Response(status, headers={"content-type": kind}, content=content)


def ask(sdk: Sdk, messages: list[Any], *, stream: bool) -> Any:
    wishes: Any = {"model": "m", "max_tokens": 99, "messages": messages, "tools": [TOOL]}
    if not stream:
        return sdk.client.messages.create(**wishes)
    with sdk.client.messages.stream(**wishes) as events:
        return events.get_final_message()


@pytest.mark.parametrize("stream", [True, False])
def test_thoughts_survive_over_anthropic(stream: bool) -> None:
    data = sse(answered(THINKING, "tool_use"))
    body = json.dumps({"content": THINKING, "stop_reason": "tool_use"}).encode()
    media_type, answer = ("text/event-stream", data) if stream else ("application/json", body)
    message = ask(Sdk("anthropic", answering_in_turn(media_type, answer)), QUESTION, stream=stream)
    assert [block.type for block in message.content] == [
        *("redacted_thinking", "text", "thinking", "tool_use", "tool_use")
    ]
    assert message.stop_reason == "tool_use"
    assert message.content[2].thinking == THOUGHT["thinking"]
    assert message.content[3].input == CALL["input"]
    said = [block.model_dump(exclude_none=True) for block in message.content]
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "No"}
        for block in message.content[3:]
    ]
    again = Sdk("anthropic", answering_in_turn(media_type, answer))
    turn: list[Any] = [
        *QUESTION,
        {"role": "assistant", "content": said},
        {"role": "user", "content": results},
    ]
    ask(again, turn, stream=stream)
    _, assistant, _ = again.chat.asked[0].json["messages"]
    assert assistant["content"][:3] == THINKING[:3]


@pytest.mark.parametrize("stream", [True, False])
def test_chat_completions_answer_too(stream: bool) -> None:
    message = ask(Sdk("openai-chat", answering("It rains.")), QUESTION, stream=stream)
    assert message.content[0].text.strip() == "It rains."
    assert message.stop_reason == "end_turn"


def test_streamed_answer_is_signed() -> None:
    answer = sse(answered([TEXT], "end_turn"))
    sdk = Sdk("anthropic", answering_in_turn("text/event-stream", answer))
    ask(sdk, QUESTION, stream=True)
    ((sent, content),) = sdk.exchanged
    *_, last = EventParser().feed(content)
    said = {"index": 0, "content": TEXT["text"], "finish_reason": "stop"}
    verify_choices(KEYS.public_keys, sent, [said], {"model": "m", **json.loads(last.data)})


def test_whole_answer_is_signed() -> None:
    body = json.dumps({"content": [TEXT], "stop_reason": "end_turn"}).encode()
    sdk = Sdk("anthropic", sending(200, body))
    ask(sdk, QUESTION, stream=False)
    ((sent, content),) = sdk.exchanged
    said = {"index": 0, "content": TEXT["text"], "finish_reason": "stop"}
    verify_choices(KEYS.public_keys, sent, [said], json.loads(content))


@pytest.mark.parametrize(
    ("behaviour", "status", "kind"),
    [
        (sending(429, {}), 429, "rate_limit_error"),
        (sending(529, {}), 503, "overloaded_error"),
        (sending(200, b"\xff"), 502, "api_error"),
    ],
)
def test_failures_are_told_in_anthropics_shape(
    behaviour: Behaviour, status: int, kind: str
) -> None:
    with pytest.raises(APIStatusError) as caught:
        ask(Sdk("anthropic", behaviour), QUESTION, stream=False)
    assert caught.value.status_code == status
    assert caught.value.body["error"]["type"] == kind  # type: ignore[index]


@pytest.mark.parametrize(
    ("content", "status", "kind"),
    [
        ({"messages": []}, 400, "invalid_request_error"),
        ({"model": "another"}, 404, "not_found_error"),
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, 400, "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("path", [PATH, PATH + b"/count_tokens"])
def test_wrong_requests_are_refused_before_anybody_is_asked(
    content: dict[str, Any], status: int, kind: str, path: bytes
) -> None:
    chat = Chat("anthropic", sending(200, b""))
    asked = {"max_tokens": 9, "messages": QUESTION, **content}
    ((answered_with, body),) = chat.exchange(asked, path=path)
    assert (answered_with, json.loads(body)["error"]["type"]) == (status, kind)
    assert chat.asked == []


def test_tokens_are_counted_without_asking_anybody() -> None:
    sdk = Sdk("anthropic", sending(500, b""))
    little = sdk.client.messages.count_tokens(model="m", messages=QUESTION)
    much = sdk.client.messages.count_tokens(model="m", messages=QUESTION, tools=[TOOL])
    assert 0 < little.input_tokens < much.input_tokens
    assert sdk.chat.asked == []


def test_a_model_of_embeddings_counts_nothing_and_answers_no_message() -> None:
    table = ModelTable((Model("e", upstream_at("unix:/nonexistent"), "there", embeddings=True),))
    content = json.dumps({"model": "e", "max_tokens": 9, "messages": QUESTION}).encode()
    with pytest.raises(ChatError) as counted:
        count(table, content)
    with pytest.raises(ChatError) as asked:
        prepare(table, Job(PATH, content, may_stream=False), lambda _: None)
    told = [(error.value.param, error.value.code) for error in (counted, asked)]
    assert told == 2 * [("model", "unsupported_value")]


def test_a_question_that_is_to_think_is_counted() -> None:
    thinking = {"type": "enabled", "budget_tokens": 31_999}
    body = {"model": "m", "messages": QUESTION, "thinking": thinking}
    assert Messages().read_to_count(json.dumps(body).encode()).reasoning_effort == "high"

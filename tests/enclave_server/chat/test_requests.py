"""Requests that must be refused, each with its inner status and the field that is wrong."""

import asyncio
import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from enclave_server.addresses import parse_address
from enclave_server.chat.errors import ChatError
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.strict_json import MAX_DEPTH, MAX_VALUES, parse_object
from enclave_server.chat.surfaces.chat_shapes import ChatRequest
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.http.limits import Limits
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery, settled

KEY = rsa.generate_private_key(65537, 2048)
NOWHERE = Upstream("nowhere", parse_address("unix:/nonexistent/socket"))
TABLE = ModelTable(
    (
        Model("m", NOWHERE, "there"),
        Model("plain", NOWHERE, "there", tools=False, images=False, max_choices=2),
    )
)
HELLO = [{"role": "user", "content": "Hello"}]
TOOL = {"type": "function", "function": {"name": "f"}}
JSON = ((b"content-type", b"application/json"),)


def ask(
    body: object,
    *,
    method: bytes = b"POST",
    path: bytes = b"/v1/chat/completions",
    headers: tuple[tuple[bytes, bytes], ...] = JSON,
    delivery: Delivery = Delivery.WHOLE,
) -> tuple[Response, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method, b"https", b"gateway", path, headers, content)
    service = ChatService(TABLE, lambda: KEY)
    answer = asyncio.run(settled(service.dispatch(request, delivery)))
    assert isinstance(answer, Response)
    value = json.loads(answer.content)
    error = value.get("error", {})
    if answer.status != 200:
        assert error.keys() == {"message", "type", "param", "code"}
        assert (b"content-type", b"application/json") in answer.headers
    return answer, error


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, **fields}


def message(**fields: Any) -> dict[str, Any]:
    return chat(messages=[fields])


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def schema_of_depth(depth: int) -> dict[str, Any]:
    parameters = {"x": nested(depth)}
    return chat(tools=[{"type": "function", "function": {"name": "f", "parameters": parameters}}])


WRONG = {
    "no model": ({"messages": HELLO}, "model"),
    "model of wrong type": ({"model": 5, "messages": HELLO}, "model"),
    "empty model": ({"model": "", "messages": HELLO}, "model"),
    "no messages": ({"model": "m"}, "messages"),
    "empty messages": (chat(messages=[]), "messages"),
    "messages of wrong type": (chat(messages="Hello"), "messages"),
    "null messages": (chat(messages=None), "messages"),
    "message of wrong type": (chat(messages=["Hello"]), "messages[0]"),
    "message without a role": (message(content="x"), "messages[0].role"),
    "unknown role": (message(role="wizard", content="x"), "messages[0].role"),
    "role of wrong type": (message(role=1, content="x"), "messages[0].role"),
    "user without content": (message(role="user"), "messages[0].content"),
    "content of wrong type": (message(role="user", content=7), "messages[0].content"),
    "empty content parts": (message(role="user", content=[]), "messages[0].content"),
    "unknown part": (
        message(role="user", content=[{"type": "input_audio"}]),
        "messages[0].content[0].type",
    ),
    "image of the server's own files": (
        message(
            role="user", content=[{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]
        ),
        "messages[0].content[0].image_url.url",
    ),
    "unknown field in a message": (
        message(role="user", content="x", colour=1),
        "messages[0].colour",
    ),
    "result of no call": (
        message(role="tool", content="x", tool_call_id="call_1"),
        "messages[0].tool_call_id",
    ),
    "unknown field": (chat(web_search_options={}), "web_search_options"),
    "temperature too high": (chat(temperature=2.5), "temperature"),
    "temperature of wrong type": (chat(temperature="hot"), "temperature"),
    "temperature is a truth value": (chat(temperature=True), "temperature"),
    "top_p too high": (chat(top_p=1.5), "top_p"),
    "n is zero": (chat(n=0), "n"),
    "n too high": (chat(n=129), "n"),
    "max_tokens is zero": (chat(max_tokens=0), "max_tokens"),
    "max_tokens of wrong type": (chat(max_tokens=1.5), "max_tokens"),
    "max_completion_tokens enormous": (chat(max_completion_tokens=10**30), "max_completion_tokens"),
    "seed too large": (chat(seed=2**63), "seed"),
    "too many stops": (chat(stop=["x"] * 17), "stop"),
    "stop of wrong type": (chat(stop=5), "stop"),
    "logit_bias too strong": (chat(logit_bias={"5": 101}), "logit_bias[...]"),
    "logit_bias of a word": (chat(logit_bias={"word": 1}), "logit_bias"),
    "top_logprobs too many": (chat(logprobs=True, top_logprobs=21), "top_logprobs"),
    "no tools": (chat(tools=[]), "tools"),
    "tool of unknown type": (chat(tools=[{"type": "web_search"}]), "tools[0].type"),
    "function with a strange name": (
        chat(tools=[{"type": "function", "function": {"name": "f g"}}]),
        "tools[0].function.name",
    ),
    "tool_choice of unknown kind": (chat(tool_choice="maybe"), "tool_choice"),
    "response_format unknown": (
        chat(response_format={"type": "yaml"}),
        "response_format.type",
    ),
    "modalities with sound": (chat(modalities=["audio"]), "modalities[0]"),
    "stream of wrong type": (chat(stream="yes"), "stream"),
    "stream_options without a stream": (
        chat(stream_options={"include_usage": True}),
        "stream_options",
    ),
    "unknown stream option": (
        chat(stream=True, stream_options={"x": 1}),
        "stream_options.x",
    ),
    "stream without the chunked media type": (chat(stream=True), "stream"),
    "tools for a model that has none": (chat(model="plain", tools=[TOOL]), "tools"),
    "image for a model that sees none": (
        {
            "model": "plain",
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}],
                }
            ],
        },
        "messages",
    ),
    "more choices than the model gives": (chat(model="plain", n=3), "n"),
    "nested too deep": (schema_of_depth(MAX_DEPTH), None),
    "not an object": ([1], None),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_is_refused_and_the_field_named(case: str) -> None:
    body, param = WRONG[case]
    answer, error = ask(body)
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert param is None or param.split("[")[0].split(".")[0] in error["message"]


BROKEN_JSON = {
    "empty": b"",
    "text": b"Hello",
    "truncated": b'{"model":"m"',
    "trailing": json.dumps(chat()).encode() + b"{}",
    "not a number": b'{"model":"m","temperature":NaN}',
    "infinite": b'{"model":"m","temperature":1e999}',
    "not UTF-8": b'{"model":"\xff"}',
    "UTF-16": json.dumps(chat()).encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(chat()).encode(),
    "endless integer": b'{"model":' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "closed too often": b"]" * 100_000,
    "many values": b"[" + b"0," * (MAX_VALUES + 1) + b"0]",
    "many empty lists": b"[" + b"[]," * MAX_VALUES + b"[]]",
    "unterminated string": b'{"model":"' + b'\\"' * 100_000,
    "lone surrogate": b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
    "surrogate in an unknown name": b'{"\\ud800":1}',
}


@pytest.mark.parametrize("unit", [b"]", b"}", b'"', b'"",', b"[]", b"\\"])
def test_refusing_costs_little_memory(unit: bytes) -> None:
    data = b"{" + unit * (Limits().body_bytes // len(unit))
    tracemalloc.start()
    try:
        with pytest.raises(ChatError):
            parse_object(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * len(data)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("case", BROKEN_JSON)
def test_broken_json_is_refused(case: str) -> None:
    started = time.process_time()
    answer, error = ask(BROKEN_JSON[case])
    assert answer.status == 400
    assert error["type"] == "invalid_request_error"
    assert time.process_time() - started < 10


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"model":"m"}',
        b'{"messages":[{"role":"user","content":"x"}],"model":"m","mod\\u0065l":"n"}',
        b'{"messages":[],"model":"m","model":"m"}',
    ],
)
def test_duplicate_field_is_refused_by_name(body: bytes) -> None:
    answer, error = ask(body)
    assert (answer.status, error["param"]) == (400, "model")


def test_duplicate_field_within_a_message_is_refused() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"a","content":"b"}]}'
    answer, error = ask(body)
    assert (answer.status, error["param"]) == (400, "content")


def test_unknown_field_of_any_length_is_cut_in_the_answer() -> None:
    answer, error = ask(chat(**{"x" * 100_000: 1}))
    assert answer.status == 400
    assert error["param"] == "x" * 64
    assert len(answer.content) < 1000


def test_unknown_model_is_not_found() -> None:
    answer, error = ask(chat(model="other"))
    assert answer.status == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"GET", b"/v1/chat/completions", 405),
        (b"POST", b"/v1/models", 405),
        (b"DELETE", b"/v1/models/m", 405),
        (b"POST", b"/v1/embeddings", 404),
        (b"POST", b"/v1/chat/completions?user=5", 404),
        (b"POST", b"/v1/chat/completions/", 404),
        (b"GET", b"/v1/models/other", 404),
        (b"GET", b"/health", 404),
    ],
)
def test_wrong_method_or_path(method: bytes, path: bytes, status: int) -> None:
    answer, _ = ask(chat(), method=method, path=path)
    assert answer.status == status
    allowed = dict(answer.headers).get(b"allow")
    assert (allowed is not None) == (status == 405)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/jsonp"),),
        (*JSON, (b"content-encoding", b"gzip")),
    ],
)
def test_media_type_must_be_plain_json(headers: tuple[tuple[bytes, bytes], ...]) -> None:
    answer, _ = ask(chat(), headers=headers)
    assert answer.status == 415


def test_media_type_may_have_parameters_and_any_case() -> None:
    answer, _ = ask(chat(), headers=((b"content-type", b"Application/JSON; charset=utf-8"),))
    assert answer.status == 503  # it got as far as the upstream, of which there is none


def test_stream_in_a_whole_answer_names_the_media_type_to_use() -> None:
    _, error = ask(chat(stream=True))
    assert "message/ohttp-chunked-req" in error["message"]


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m"},
        {"model": "m", "prompt": []},
        {"model": "m", "prompt": [1, "x"]},
        {"model": "m", "prompt": [[1], "x"]},
        {"model": "m", "prompt": {"text": "x"}},
        {"model": "m", "prompt": [[True]]},
    ],
)
def test_wrong_prompt_is_refused(body: dict[str, Any]) -> None:
    answer, error = ask(body, path=b"/v1/completions")
    assert answer.status == 400
    assert error["param"].startswith("prompt")


def test_models_are_listed_and_described() -> None:
    answer, _ = ask(b"", method=b"GET", path=b"/v1/models", headers=())
    listed = json.loads(answer.content)
    assert answer.status == 200
    assert [model["id"] for model in listed["data"]] == ["m", "plain"]
    answer, _ = ask(b"", method=b"GET", path=b"/v1/models/pl%61in", headers=())
    assert json.loads(answer.content) == listed["data"][1]


def test_everything_that_is_allowed_reaches_the_upstream(tmp_path: Path) -> None:
    """The widest request there is passes every check."""
    body = chat(
        messages=[
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "x"},
        ],
        temperature=1,
        top_p=1,
        n=1,
        stop=["x"],
        max_tokens=5,
        max_completion_tokens=5,
        presence_penalty=0,
        frequency_penalty=-2,
        seed=-1,
        logit_bias={"50256": -100},
        logprobs=True,
        top_logprobs=2,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "s", "schema": {"type": "object"}, "strict": True},
        },
        reasoning_effort="low",
        verbosity="low",
        modalities=["text"],
        stream=False,
    )
    answer, error = ask(body)
    assert (answer.status, error["code"]) == (503, "upstream_unavailable")


def test_schema_within_the_limit_is_accepted() -> None:
    answer, _ = ask(schema_of_depth(MAX_DEPTH - 10))
    assert answer.status == 503


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
FIELDS = sorted(ChatRequest.__struct_fields__)


@given(st.dictionaries(st.sampled_from(FIELDS) | st.text(), VALUES, max_size=5))
def test_any_json_gets_a_status_of_its_own(fields: dict[str, Any]) -> None:
    body = {"messages": HELLO, **fields, "model": "other"}
    answer, error = ask(body)
    assert answer.status in (400, 404)
    assert error["message"]


@given(st.lists(st.dictionaries(st.sampled_from(["role", "content", "tool_calls"]), VALUES)))
def test_any_messages_get_a_status_of_their_own(messages: list[Any]) -> None:
    answer, _ = ask({"messages": messages, "model": "other"})
    assert answer.status in (400, 404)


@given(st.binary() | st.text().map(str.encode), st.integers(0, 60))
def test_any_bytes_are_refused(data: bytes, at: int) -> None:
    whole = json.dumps({"model": "other", "messages": HELLO}).encode()
    for body in (data, whole[:at] + data + whole[at:], whole[:at]):
        answer, _ = ask(body)
        assert answer.status in (400, 404)

"""What bad input gets, over every surface: a 400 in its own shape, before any upstream is asked.

The models of `tests.support.chat_service` lead nowhere: who asks them is told 503, not 400.
"""

import asyncio
import json
from typing import Any

import pytest

from enclave_server.chat.preparing import EMBEDDINGS_PATH, SURFACES
from enclave_server.chat.service import ChatService
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery, settled
from tests.support.chat_service import HELLO, JSON, KEYS, TABLE

CHAT, TEXT, MESSAGES, RESPONSES = (
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/messages",
    b"/v1/responses",
)
Body = dict[str, Any]

PLAIN: dict[bytes, Body] = {
    CHAT: {"model": "m", "messages": HELLO},
    TEXT: {"model": "m", "prompt": "Once"},
    MESSAGES: {"model": "m", "max_tokens": 9, "messages": HELLO},
    RESPONSES: {"model": "m", "input": HELLO},
    EMBEDDINGS_PATH: {"model": "e", "input": ["a"]},
}

NOT_PNG = "iVBORw0KGgoAAAANSUhEUgAA"  # which is one
ELSEWHERE = "https://example.com/ada.png"
FUNCTION = {"name": "f", "arguments": "[1]"}
CALL = {"id": "a", "type": "function", "function": FUNCTION}
ITEM = {"type": "function_call", "call_id": "a", **FUNCTION}
USE = {"type": "tool_use", "id": "a", "name": "f", "input": [1]}
NO_SUCH = "it has no word for such a thing"


def user(part: Any) -> list[Any]:
    return [{"role": "user", "content": [part]}]


def chat_image(url: str) -> Body:
    return {"messages": user({"type": "image_url", "image_url": {"url": url}})}


def item_image(url: str) -> Body:
    return {"input": user({"type": "input_image", "image_url": url})}


def block_image(**source: str) -> Body:
    return {"messages": user({"type": "image", "source": source})}


# By row, and by surface: what is said beside the plainest request, the code (Anthropic's API has
# none), and what the error names. What a surface has no word for cannot be said wrongly over it.
ROWS: dict[str, dict[bytes, tuple[Body, str, str] | str]] = {
    "an unknown field": {path: ({"colour": 1}, "unknown_parameter", "colour") for path in PLAIN},
    "a field that this model has not": {
        CHAT: ({"top_k": 5}, "unsupported_parameter", "top_k"),
        TEXT: ({"top_k": 5}, "unsupported_parameter", "top_k"),
        MESSAGES: ({"top_k": 5}, "unsupported_parameter", "top_k"),
        RESPONSES: ({"top_k": 5}, "unsupported_parameter", "top_k"),
        EMBEDDINGS_PATH: ({"model": "m"}, "unsupported_value", "model"),
    },
    "a model that answers otherwise": {
        **{p: ({"model": "e"}, "unsupported_value", "model") for p in PLAIN},
        EMBEDDINGS_PATH: ({"model": "plain"}, "unsupported_value", "model"),
    },
    "arguments that are no object": {
        CHAT: (
            {
                "messages": [
                    {"role": "assistant", "tool_calls": [CALL]},
                    {"role": "tool", "tool_call_id": "a", "content": "1"},
                ]
            },
            "invalid_value",
            "messages[0].tool_calls[0].function.arguments",
        ),
        MESSAGES: (
            {
                "messages": [
                    {"role": "assistant", "content": [USE]},
                    *user({"type": "tool_result", "tool_use_id": "a", "content": "1"}),
                ]
            },
            "invalid_value",
            "messages[0].content[0].input",
        ),
        RESPONSES: (
            {"input": [ITEM, {"type": "function_call_output", "call_id": "a", "output": "1"}]},
            "invalid_value",
            "input",
        ),
        TEXT: NO_SUCH,
        EMBEDDINGS_PATH: NO_SUCH,
    },
    "a call without its result": {
        CHAT: (
            {
                "messages": [
                    {
                        "role": "assistant",
                        "tool_calls": [{**CALL, "function": {**FUNCTION, "arguments": "{}"}}],
                    },
                    *HELLO,
                ]
            },
            "invalid_value",
            "messages[0].tool_calls[0]",
        ),
        MESSAGES: (
            {"messages": [{"role": "assistant", "content": [{**USE, "input": {}}]}, *HELLO]},
            "invalid_value",
            "messages[0].content[0]",
        ),
        RESPONSES: (
            {"input": [{**ITEM, "arguments": "{}"}, *HELLO]},
            "invalid_value",
            "input",
        ),
        TEXT: NO_SUCH,
        EMBEDDINGS_PATH: NO_SUCH,
    },
    "a result without its call": {
        CHAT: (
            {"messages": [{"role": "tool", "tool_call_id": "a", "content": "1"}]},
            "",
            "messages[0].tool_call_id",
        ),
        MESSAGES: (
            {"messages": user({"type": "tool_result", "tool_use_id": "a", "content": "1"})},
            "invalid_value",
            "messages[0].content[0].tool_use_id",
        ),
        RESPONSES: (
            {"input": [{"type": "function_call_output", "call_id": "a", "output": "1"}]},
            "invalid_value",
            "input[0].call_id",
        ),
        TEXT: NO_SUCH,
        EMBEDDINGS_PATH: NO_SUCH,
    },
    "an image of another kind": {
        CHAT: (
            chat_image(f"data:image/gif;base64,{NOT_PNG}"),
            "invalid_image",
            "messages[0].content[0].image_url",
        ),
        MESSAGES: (
            block_image(type="base64", media_type="image/gif", data=NOT_PNG),
            "invalid_image",
            "messages[0].content[0].source",
        ),
        RESPONSES: (
            item_image(f"data:image/gif;base64,{NOT_PNG}"),
            "invalid_image",
            "input[0].content[0].image_url",
        ),
        TEXT: NO_SUCH,
        EMBEDDINGS_PATH: NO_SUCH,
    },
    "an image that is elsewhere": {
        CHAT: (
            chat_image(ELSEWHERE),
            "remote_image_not_allowed",
            "messages[0].content[0].image_url",
        ),
        MESSAGES: (block_image(type="url", url=ELSEWHERE), "remote_image_not_allowed", "image"),
        RESPONSES: (item_image(ELSEWHERE), "remote_image_not_allowed", "input"),
        TEXT: NO_SUCH,
        EMBEDDINGS_PATH: NO_SUCH,
    },
    "a stream in a whole request": {
        **{path: ({"stream": True}, "", "stream") for path in SURFACES},
        EMBEDDINGS_PATH: ({"stream": True}, "unknown_parameter", "stream"),
    },
    "a member twice": {path: ({}, "", "model") for path in PLAIN},
    "no JSON": {path: ({}, "", "") for path in PLAIN},
}

SAID = [
    (row, path)
    for row, surfaces in ROWS.items()
    for path, case in surfaces.items()
    if not isinstance(case, str)
]


def ask(path: bytes, content: bytes) -> Response:
    request = Request(b"POST", b"https", b"gateway", path, JSON, content)
    service = ChatService(TABLE, lambda: KEYS)
    answer = asyncio.run(settled(service.dispatch(request, Delivery.WHOLE)))
    assert isinstance(answer, Response)
    return answer


def written(row: str, path: bytes, changes: Body) -> bytes:
    content = json.dumps(PLAIN[path] | changes).encode()
    if row == "no JSON":
        return content[:-1]
    return content[:-1] + b',"model":"m"}' if row == "a member twice" else content


@pytest.mark.parametrize(("row", "path"), SAID, ids=str)
def test_what_is_wrong_is_named_in_the_surface_s_shape(row: str, path: bytes) -> None:
    case = ROWS[row][path]
    assert isinstance(case, tuple)
    changes, code, named = case
    answer = ask(path, written(row, path, changes))
    said = json.loads(answer.content)
    error = said["error"]
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert named in error["message"] or named == error.get("param")
    if path == MESSAGES:
        assert (said["type"], error.keys()) == ("error", {"type", "message"})
        return
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["param"] or "", error["code"] or "") == (named, code)


@pytest.mark.parametrize("row", ROWS)
def test_every_row_says_what_each_surface_does(row: str) -> None:
    assert ROWS[row].keys() == {*SURFACES, EMBEDDINGS_PATH} == PLAIN.keys()


@pytest.mark.parametrize("path", PLAIN)
def test_what_is_right_is_asked(path: bytes) -> None:
    assert ask(path, json.dumps(PLAIN[path]).encode()).status == 503

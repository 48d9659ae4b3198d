"""What wrong input gets at the chat surface: an error of its own, before any upstream is asked.

The models of `tests.support.chat_service` lead nowhere: who asks them is told 503, not 400.
"""

import base64
from typing import Any

import pytest

from enclave_server.chat.profiles import find_profile
from tests.support.chat_service import HELLO, ask_nowhere, chat
from tests.support.provider import Chat
from tests.support.upstream import sending

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n".ljust(30)).decode()


def shown(url: str) -> list[dict[str, Any]]:
    part = {"type": "image_url", "image_url": {"url": url}}
    return [{"role": "user", "content": [part]}]


def called(arguments: str = "{}", result: str | None = "a") -> list[dict[str, Any]]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    messages: list[dict[str, Any]] = [{"role": "assistant", "tool_calls": [call]}]
    if result is not None:
        messages.append({"role": "tool", "tool_call_id": result, "content": "1"})
    return messages


REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "an unknown field": (chat(colour=1), "colour", "unknown_parameter"),
    "a field of another API": (chat(reasoning={}), "reasoning", "unknown_parameter"),
    "a field that this model does not know": (chat(top_k=5), "top_k", "unsupported_parameter"),
    "a field of the wrong type": (chat(top_k="x"), "top_k", "invalid_value"),
    "two limits in one": (
        chat(max_tokens=1, max_completion_tokens=2),
        "max_completion_tokens",
        "invalid_value",
    ),
    "arguments that are no object": (
        chat(messages=called("[1]")),
        "messages[0].tool_calls[0].function.arguments",
        "invalid_value",
    ),
    "a call without its result": (
        chat(messages=[*called(result=None), *HELLO]),
        "messages[0].tool_calls[0]",
        "invalid_value",
    ),
    "a result without its call": (
        chat(messages=called(result="b")),
        "messages[1].tool_call_id",
        None,
    ),
    "an image that is none": (
        chat(messages=shown("data:image/png;base64,AAAAAAAAAAAAAAAA")),
        "messages[0].content[0].image_url",
        "invalid_image",
    ),
    "an image of another kind": (
        chat(messages=shown(f"data:image/gif;base64,{PNG}")),
        "messages[0].content[0].image_url",
        "invalid_image",
    ),
    "an image that is elsewhere": (
        chat(messages=shown("https://example.com/ada.png")),
        "messages[0].content[0].image_url",
        "remote_image_not_allowed",
    ),
    "a file that is elsewhere": (
        chat(messages=[{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]),
        "messages[0].content[0].file.file_id",
        "unknown_parameter",
    ),
    "a state that is none": (
        chat(
            messages=[
                {
                    "role": "assistant",
                    "content": "a",
                    "extra_content": {"oblivious": {"state": "x"}},
                }
            ]
        ),
        "messages[0].extra_content",
        "invalid_value",
    ),
    "a stream in a whole request": (chat(stream=True), "stream", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(case: str) -> None:
    body, param, code = REFUSED[case]
    answer, error = ask_nowhere(body)
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert error["message"]


def test_what_is_right_is_asked() -> None:
    for body in (
        chat(messages=[*called(), *HELLO]),
        chat(messages=shown(f"data:image/png;base64,{PNG}")),
        chat(max_tokens=5, max_completion_tokens=5),
    ):
        assert ask_nowhere(body)[0].status == 503


TOO_MUCH = {"message": "too large", "type": "invalid_request_error"}


@pytest.mark.parametrize(("profile", "theirs"), [("plain", 0), ("openai", 1)])
@pytest.mark.parametrize(
    ("path", "said", "told"),
    [
        (b"/v1/chat/completions", "max_tokens", b'"param":"max_tokens"'),
        (b"/v1/chat/completions", "max_completion_tokens", b'"param":"max_completion_tokens"'),
        (b"/v1/completions", "max_tokens", b'"param":"max_tokens"'),
        (b"/v1/responses", "max_output_tokens", b'"param":"max_output_tokens"'),
    ],
)
def test_a_limit_that_is_refused_is_called_as_its_client_calls_it(
    profile: str, theirs: int, path: bytes, said: str, told: bytes
) -> None:
    words: dict[bytes, dict[str, Any]] = {
        b"/v1/completions": {"prompt": "x"},
        b"/v1/responses": {"input": "x", "store": False},
    }
    param = ("max_tokens", "max_completion_tokens")[theirs]
    behaviour = sending(400, {"error": {**TOO_MUCH, "param": param}})
    client = Chat("openai-chat", behaviour, find_profile(profile))
    asked = {**words.get(path, {"messages": HELLO}), said: 9}
    ((status, body),) = client.exchange(asked, path=path)
    assert (status, len(client.asked)) == (400, 1)
    assert told in body

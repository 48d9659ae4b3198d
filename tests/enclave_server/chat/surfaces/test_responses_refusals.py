"""What wrong input gets over the Responses API: an error of its own, before anybody is asked.

The models of `tests.support.chat_service` lead nowhere: who asks them is told 503, not 400.
"""

from typing import Any

import pytest

from tests.support.chat_service import ask_nowhere

PNG = "iVBORw0KGgoAAAANSUhEUgAA"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "Hello"}]
CALL = {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "a", "output": "1"}


def asked(items: object = "Hello", **members: Any) -> dict[str, Any]:
    return {"model": "m", "input": items, **members}


def shown(url: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "input_image", "image_url": url}]}]


REFUSED: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "an unknown field": (asked(colour=1), "colour", "unknown_parameter"),
    "a field of another API": (asked(messages=[]), "messages", "unknown_parameter"),
    "no input": ({"model": "m"}, "input", "missing_required_parameter"),
    "a field that this model does not know": (asked(top_k=5), "top_k", "unsupported_parameter"),
    "arguments that are no object": (
        asked([CALL | {"arguments": "[1]"}, RESULT]),
        "input",
        "invalid_value",
    ),
    "a call without its result": (asked([CALL, *HELLO]), "input", "invalid_value"),
    "a result without its call": (asked([RESULT]), "input[0].call_id", "invalid_value"),
    "an image of another kind": (
        asked(shown(f"data:image/gif;base64,{PNG}")),
        "input[0].content[0].image_url",
        "invalid_image",
    ),
    "an image that is elsewhere": (
        asked(shown("https://example.com/ada.png")),
        "input",
        "remote_image_not_allowed",
    ),
    "a file that is elsewhere": (
        asked([{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]),
        "input[0].content[0].file_id",
        "unknown_parameter",
    ),
    "a state that is none": (
        asked([{"type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB"}, *HELLO]),
        "input[0].encrypted_content",
        "invalid_value",
    ),
    "what was kept": (
        asked(previous_response_id="resp_1"),
        "previous_response_id",
        "unsupported_parameter",
    ),
    "a tool that runs elsewhere": (
        asked(tools=[{"type": "web_search"}]),
        "tools[0].type",
        "unsupported_value",
    ),
    "a stream in a whole request": (asked(stream=True), "stream", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_named(case: str) -> None:
    body, param, code = REFUSED[case]
    answer, error = ask_nowhere(body, path=b"/v1/responses")
    assert (answer.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == (param, code)
    assert "messages[" not in error["message"]


def test_what_is_right_is_asked() -> None:
    for body in (
        asked(),
        asked([CALL, RESULT]),
        asked(shown(f"data:image/png;base64,{PNG}")),
        asked(tools=[{"type": "namespace", "name": "n", "tools": [{"name": "f"}]}]),
    ):
        assert ask_nowhere(body, path=b"/v1/responses")[0].status == 503

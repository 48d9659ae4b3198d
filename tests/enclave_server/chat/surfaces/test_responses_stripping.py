"""What of a Responses request is dropped, and what is refused because nothing is kept."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.responses_stripping import KEEPING, plain_fields

ASKED: dict[str, Any] = {"model": "m", "input": "Hello"}


def refused(**members: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        plain_fields(ASKED | members)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "members",
    [
        {"store": False, "background": False, "previous_response_id": None},
        {"user": "u", "metadata": {"a": "b"}, "prompt_cache_key": "k", "client_metadata": {}},
        {"stream_options": {"include_obfuscation": False}},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
    ],
    ids=str,
)
def test_what_means_nothing_is_dropped(members: dict[str, Any]) -> None:
    assert plain_fields(ASKED | members) == ASKED


def test_identifiers_of_items_and_parts_are_dropped() -> None:
    part = {"type": "output_text", "text": "Hi.", "annotations": [], "logprobs": []}
    item = {"id": "msg_1", "status": "completed", "phase": "x", "role": "assistant"}
    output = [{"type": "input_file", "file_data": "a", "filename": "mine.pdf"}]
    items = [item | {"content": [part]}, {"type": "function_call_output", "output": output}, 3]
    assert plain_fields(ASKED | {"input": items})["input"] == [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi."}],
        },
        {"type": "function_call_output", "output": [{"type": "input_file", "file_data": "a"}]},
        3,
    ]


@pytest.mark.parametrize("name", KEEPING)
def test_what_would_have_to_be_kept_is_refused(name: str) -> None:
    value = True if name in ("store", "background") else "resp_1"
    error = refused(**{name: value})
    assert (error.param, error.code) == (name, "unsupported_parameter")
    assert "nothing is kept here" in error.message


def test_reference_to_what_was_kept_is_refused() -> None:
    error = refused(input=["x", {"type": "item_reference", "id": "rs_1"}])
    assert error.param == "input[1]"
    assert "nothing is kept here" in error.message


@pytest.mark.parametrize("kind", ["web_search", "file_search", "custom", "mcp", "local_shell"])
def test_tools_that_run_elsewhere_are_refused(kind: str) -> None:
    error = refused(tools=[{"type": "function", "name": "f"}, {"type": kind}])
    assert error.param == "tools[1].type"
    assert "nothing is kept here" in error.message
    nested = [{"type": "namespace", "name": "n", "tools": [{"type": kind}]}]
    assert refused(tools=nested).param == "tools[0].type"

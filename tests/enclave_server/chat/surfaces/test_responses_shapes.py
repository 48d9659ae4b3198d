"""A Responses request has exactly these fields; every field of OpenAI's types has its place."""

from typing import Any, get_type_hints

import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces import dropped
from enclave_server.chat.surfaces.responses_shapes import ResponsesRequest
from enclave_server.chat.surfaces.responses_stripping import KEEPING, OF_REQUEST
from enclave_server.chat.surfaces.shapes import convert

ASKED: dict[str, Any] = {"model": "m", "input": "Hello"}

REFUSED = {
    "access_programs",
    "background_options",
    "context_management",
    "image",
    "max_tool_calls",
    "moderation",
}


def test_every_field_of_their_types_is_read_dropped_or_refused() -> None:
    read = {*ResponsesRequest.__struct_fields__}
    known = {*get_type_hints(ResponseCreateParamsStreaming)}
    assert known - read - OF_REQUEST - dropped.OF_REQUEST == REFUSED
    assert read <= known
    assert {*KEEPING} <= known


WRONG: dict[str, Any] = {
    "model": None,
    "input": [],
    "instructions": ["x"],
    "max_output_tokens": 0,
    "temperature": 2.5,
    "top_p": 1.5,
    "top_logprobs": 21,
    "include": ["file_search_call.results"],
    "tools": [{"type": "function"}],
    "tool_choice": "any",
    "parallel_tool_calls": "no",
    "reasoning": {"effort": "most"},
    "text": {"format": {"type": "xml"}},
    "truncation": "auto",
    "stream": "yes",
    "max_tool_calls": 3,
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_refused_where_they_stand(name: str) -> None:
    with pytest.raises(ChatError) as caught:
        convert(ASKED | {name: WRONG[name]}, ResponsesRequest)
    assert (caught.value.status, (caught.value.param or "").split(".")[0].split("[")[0]) == (
        400,
        name,
    )


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "tool", "content": "x"},
        {"type": "message", "role": "user"},
        {"type": "message", "role": "user", "content": [{"type": "input_image", "file_id": "x"}]},
        {"type": "function_call_output", "call_id": "x", "output": []},
        {"type": "custom_tool_call", "call_id": "x"},
        {"type": "reasoning", "summary": "x"},
        "x",
    ],
    ids=str,
)
def test_wrong_items_are_refused(item: Any) -> None:
    with pytest.raises(ChatError) as caught:
        convert(ASKED | {"input": [item]}, ResponsesRequest)
    assert (caught.value.param or "").startswith("input[")

"""A conversation as items, which OpenAI's own types read without loss."""

from typing import Any

import msgspec
import pytest
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from enclave_server.chat.conversation import (
    File,
    Image,
    Message,
    Refusal,
    State,
    Text,
    ToolCall,
)
from enclave_server.chat.dialects.openai_responses.items import write_items
from enclave_server.chat.dialects.openai_responses.keepsakes import (
    NAME,
    Called,
    Entry,
    Reasoning,
    Said,
)

Json = dict[str, Any]

_ITEMS: TypeAdapter[Any] = TypeAdapter(ResponseInputItemParam)

PNG = "data:image/png;base64,iVBORw0KGgo="
CALLS = [ToolCall(0, "f", '{"a":1}'), ToolCall(1, "g", "")]


def items(*messages: Message, **how: Any) -> list[Json]:
    return write_items([*messages], **how)


def said(role: str, content: object) -> Json:
    return {"type": "message", "role": role, "content": content}


NOTHING = "{}"


def called(number: int, name: str, arguments: str) -> Json:
    identifier = f"call{number:05d}"
    return {
        "type": "function_call",
        "call_id": identifier,
        "name": name,
        "arguments": arguments,
    }


def returned(number: int, output: object) -> Json:
    return {"type": "function_call_output", "call_id": f"call{number:05d}", "output": output}


CASES: dict[str, tuple[Message, list[Json]]] = {
    "system": (Message("system", "Be brief."), [said("system", "Be brief.")]),
    "developer": (
        Message("developer", [Text("Be brief.")]),
        [said("developer", [{"type": "input_text", "text": "Be brief."}])],
    ),
    "user": (Message("user", "Hello"), [said("user", "Hello")]),
    "nothing": (Message("user", ""), [said("user", "")]),
    "an image and a document": (
        Message("user", [Text("See"), Image(PNG), Image(PNG, "low"), File("JVBERi0=")]),
        [
            said(
                "user",
                [
                    {"type": "input_text", "text": "See"},
                    {"type": "input_image", "image_url": PNG, "detail": "auto"},
                    {"type": "input_image", "image_url": PNG, "detail": "low"},
                    {
                        "type": "input_file",
                        "filename": "document.pdf",
                        "file_data": "data:application/pdf;base64,JVBERi0=",
                    },
                ],
            )
        ],
    ),
    "assistant": (Message("assistant", "Hi."), [said("assistant", "Hi.")]),
    "an answer in parts": (
        Message("assistant", [Text("H"), Text("i.")]),
        [said("assistant", "Hi.")],
    ),
    "an answer of nothing": (Message("assistant", ""), []),
    "calls": (
        Message("assistant", "I look.", calls=CALLS),
        [said("assistant", "I look."), called(0, "f", '{"a":1}'), called(1, "g", NOTHING)],
    ),
    "a result": (Message("tool", "Rain", result_of=1), [returned(1, "Rain")]),
    "a result of nothing": (Message("tool", None, result_of=1), [returned(1, "")]),
    "a result in a part": (Message("tool", [Text("Rain")], result_of=0), [returned(0, "Rain")]),
    "a result in parts": (
        Message("tool", [Text("Rain"), Image(PNG)], result_of=0),
        [
            returned(
                0,
                [
                    {"type": "input_text", "text": "Rain"},
                    {"type": "input_image", "image_url": PNG, "detail": "auto"},
                ],
            )
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_messages_become_items(case: str) -> None:
    message, expected = CASES[case]
    written = items(message)
    assert written == expected
    for item in written:
        assert lossless(_ITEMS.validate_python(item)) == item


def lossless(value: Any) -> Any:
    """Return what types of OpenAI's have read; lists of them are read when they are asked."""
    return msgspec.json.decode(_ITEMS.dump_json(value))


def test_refusals_are_parts_beside_what_was_said() -> None:
    refused = [{"type": "refusal", "refusal": "No."}]
    assert items(Message("assistant", None, "No.")) == [said("assistant", refused)]
    (item,) = items(Message("assistant", [Text("Hm. "), Refusal("No.")]))
    assert item["content"] == [
        {"type": "output_text", "text": "Hm. ", "annotations": []},
        *refused,
    ]
    # Their types want an identifier and a status, which their server does not.
    whole = item | {"id": "msg_1", "status": "completed"}
    assert lossless(_ITEMS.validate_python(whole)) == whole


THOUGHT = Reasoning("rs_1", "AB==")
AGAIN = Reasoning("rs_2", "CD==")


def kept(*entries: Entry) -> State:
    return State(NAME, msgspec.json.encode(entries))


def written(entry: Reasoning) -> Json:
    return {
        "type": "reasoning",
        "id": entry.id,
        "encrypted_content": entry.encrypted_content,
        "summary": [],
    }


ORDERS: dict[str, tuple[list[Entry], list[Json]]] = {
    "thought first": (
        [THOUGHT, Said(), Called(), Called()],
        [
            written(THOUGHT),
            said("assistant", "Hm."),
            called(0, "f", '{"a":1}'),
            called(1, "g", NOTHING),
        ],
    ),
    "thought between": (
        [THOUGHT, Called(), AGAIN, Called(), Said("final_answer")],
        [
            written(THOUGHT),
            called(0, "f", '{"a":1}'),
            written(AGAIN),
            called(1, "g", NOTHING),
            said("assistant", "Hm.") | {"phase": "final_answer"},
        ],
    ),
    "two messages": (
        [Said("commentary"), THOUGHT, Said("final_answer"), Called(), Called()],
        [
            written(THOUGHT),
            said("assistant", "Hm.") | {"phase": "final_answer"},
            called(0, "f", '{"a":1}'),
            called(1, "g", NOTHING),
        ],
    ),
    "less than is said": (
        [THOUGHT],
        [
            written(THOUGHT),
            said("assistant", "Hm."),
            called(0, "f", '{"a":1}'),
            called(1, "g", NOTHING),
        ],
    ),
    "more than is said": (
        [THOUGHT, Called(), Said(), Called(), Called(), Called()],
        [
            written(THOUGHT),
            called(0, "f", '{"a":1}'),
            said("assistant", "Hm."),
            called(1, "g", NOTHING),
        ],
    ),
}


@pytest.mark.parametrize("case", ORDERS)
def test_reasoning_comes_back_where_it_stood(case: str) -> None:
    entries, expected = ORDERS[case]
    message = Message("assistant", "Hm.", calls=CALLS, state=kept(*entries))
    assert items(message) == expected
    for item in expected:
        assert lossless(_ITEMS.validate_python(item)) == item


def test_reasoning_in_clear_comes_back_with_calls_if_the_provider_wants_it() -> None:
    message = Message("assistant", "Hm.", calls=CALLS, reasoning="Why")
    assert len(items(message)) == 3
    thought, *rest = items(message, reasoning_returns=True)
    assert thought["content"] == [{"type": "reasoning_text", "text": "Why"}]
    assert rest == items(message)
    assert lossless(_ITEMS.validate_python(thought)) == thought
    spoken = Message("assistant", "Hm.", reasoning="Why")
    assert items(spoken, reasoning_returns=True) == items(spoken)

"""Requests of Anthropic's API in the neutral form."""

from typing import Any

import pytest

from enclave_server.chat.conversation import (
    Conversation,
    Image,
    Message,
    ObjectOf,
    Text,
    Tool,
    ToolCall,
    ToolNamed,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.surfaces.chat_reading import read_request as read_chat
from enclave_server.chat.surfaces.messages_reading import read_request
from enclave_server.chat.thoughts import CALL as CALLED
from enclave_server.chat.thoughts import Thought, decode_pieces
from tests.support.conversations import PDF, PDF_DATA, PNG, PNG_DATA

USER = {"role": "user", "content": "Hello"}
CALL = {"type": "tool_use", "id": "toolu_a", "name": "f", "input": {"a": [1, "ä"]}}
OTHER = {"type": "tool_use", "id": "toolu_b", "name": "g", "input": {}}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
SCHEMA = {"type": "object"}


def read(*messages: Any, **fields: Any) -> Conversation:
    said = list(messages) or [USER]
    return read_request({"model": "m", "max_tokens": 5000, "messages": said, **fields})


def result(identifier: str, **members: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identifier, **members}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def inline(media_type: str, data: str = "x") -> dict[str, Any]:
    return {"type": "base64", "media_type": media_type, "data": data}


def refusal(*messages: Any, **fields: Any) -> ChatError:
    with pytest.raises(ChatError) as caught:
        read(*messages, **fields)
    assert caught.value.status == 400
    return caught.value


def test_plainest_request() -> None:
    assert read() == Conversation(model="m", max_tokens=5000, messages=[Message("user", "Hello")])
    assert read(user(text("Hello"))) == read()


def test_stream_ends_with_its_count() -> None:
    asked = read(stream=True)
    assert (asked.stream, asked.usage) == (True, True)


def test_instructions() -> None:
    assert read(system="s").messages[0] == Message("system", "s")
    assert read(system=[text("s"), text("t")]).messages[0].content == [Text("s"), Text("t")]
    assert read(system="").messages == read().messages
    later = read(USER, {"role": "system", "content": "s"})
    assert later.messages[1] == Message("system", "s")


def test_what_is_shown() -> None:
    image = {"type": "image", "source": inline("image/png", PNG_DATA)}
    pdf = inline("application/pdf", PDF_DATA)
    url = {"type": "url", "url": "https://x/y.png"}
    (message,) = read(
        user(
            text("a"),
            image,
            {"type": "image", "source": url},
            {"type": "document", "source": pdf, "title": "whose"},
            {"type": "document", "source": {"type": "text", "data": "b"}},
        )
    ).messages
    assert message.content == [Text("a"), PNG, Image("https://x/y.png"), PDF, Text("b")]


def test_calls_and_results() -> None:
    asked = read(
        USER,
        assistant(text("Look:"), CALL, OTHER),
        user(
            text("Well?"),
            result("toolu_b", content=[text("No")], is_error=True),
            result("toolu_a"),
        ),
    )
    assert asked.messages[1:] == [
        Message(
            "assistant",
            "Look:",
            calls=[ToolCall(0, "f", '{"a":[1,"ä"]}'), ToolCall(1, "g", "{}")],
        ),
        Message("tool", "No", result_of=1, failed=True),
        Message("tool", "", result_of=0),
        Message("user", "Well?"),
    ]


def test_thoughts_are_reasoning_with_a_state() -> None:
    thought = {"type": "thinking", "thinking": "why", "signature": "native+"}
    (message,) = read(assistant(thought, text("a"))).messages
    assert (message.content, message.reasoning) == ("a", "why")
    assert message.state is not None
    assert message.state.dialect == "anthropic"


def test_tools_and_their_choice() -> None:
    assert read(tools=[TOOL]).tools == [Tool("f", None, {"type": "object"})]
    for choice, chosen in (
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "f"}, ToolNamed("f")),
    ):
        asked = read(tools=[TOOL], tool_choice=choice)
        assert (asked.tool_choice, asked.parallel_tool_calls) == (chosen, None)
    one = read(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert one.parallel_tool_calls is False
    assert read(tool_choice={"type": "auto"}) == read()


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"thinking": {"type": "adaptive"}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "max"),
        ({"output_config": {"effort": "low"}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31999}, "max_tokens": 32000}, "high"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}, "max_tokens": 64000}, "xhigh"),
    ],
)
def test_how_much_to_think(fields: dict[str, Any], effort: str | None) -> None:
    assert read(**fields).reasoning_effort == effort


def test_sampling_stops_and_format() -> None:
    asked = read(
        temperature=0.5,
        top_p=-0.0,
        top_k=3,
        stop_sequences=["END"],
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert (asked.temperature, asked.top_p, asked.sampling) == (0.5, 0.0, {"top_k": 3})
    assert asked.stop == ["END"]
    assert asked.response_format == ObjectOf("answer", schema=SCHEMA)


@pytest.mark.parametrize(
    ("messages", "fields", "param"),
    [
        ([user(result("toolu_x"))], {}, "messages[0].content[0].tool_use_id"),
        ([assistant(CALL)], {}, "messages[0].content[0]"),
        ([assistant(text("a"), CALL), USER], {}, "messages[0].content[1]"),
        (
            [assistant(CALL, OTHER), user(result("toolu_a"), text("x"))],
            {},
            "messages[0].content[1]",
        ),
        (
            [assistant(CALL), user(result("toolu_a"), result("toolu_a"))],
            {},
            "messages[1].content[1].tool_use_id",
        ),
        (
            [user({"type": "image", "source": inline("image/png")})],
            {},
            "messages[0].content[0].source",
        ),
        (
            [user({"type": "document", "source": inline("text/html")})],
            {},
            "messages[0].content[0].source.media_type",
        ),
        ([], {"tool_choice": {"type": "any"}}, "tool_choice"),
        ([], {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ([], {"thinking": {"type": "enabled", "budget_tokens": 5000}}, "thinking.budget_tokens"),
    ],
)
def test_what_is_wrong_is_named(messages: list[Any], fields: dict[str, Any], param: str) -> None:
    error = refusal(*messages, **fields)
    assert error.param == param
    assert param in error.message


CHAT_CALL = {"id": "x", "type": "function", "function": {"name": "g", "arguments": "{}"}}
ALIKE: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    "text": ([USER], [USER], {}),
    "instructions": ([USER], [{"role": "system", "content": "s"}, USER], {"system": "s"}),
    "calls": (
        [USER, assistant(OTHER), user(result("toolu_b", content="r"), text("x"))],
        [
            USER,
            {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
            {"role": "tool", "tool_call_id": "x", "content": "r"},
            {"role": "user", "content": "x"},
        ],
        {},
    ),
}


@pytest.mark.parametrize("case", ALIKE)
def test_prompts_of_one_meaning_are_one_question_on_either_surface(case: str) -> None:
    here, there, fields = ALIKE[case]
    chat = read_chat({"model": "m", "max_tokens": 5000, "messages": there})
    assert read(*here, **fields) == chat


def test_a_thought_is_kept_with_its_place_among_texts_and_calls() -> None:
    thought = {"type": "thinking", "thinking": "why", "signature": "native+"}
    results = user(result("toolu_a"), result("toolu_b"))
    message, *_ = read(assistant(text("ab"), CALL, thought, OTHER), results).messages
    assert message.state is not None
    assert decode_pieces(message.state.value) == [2, CALLED, Thought("why", "native+"), CALLED]

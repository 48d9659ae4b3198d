"""What a request costs: every count by itself, and that none is read beyond its most."""

from typing import Any

import pytest

from enclave_server.chat.conversation import (
    AnyObject,
    Continuation,
    Conversation,
    Image,
    Message,
    ObjectOf,
    Refusal,
    State,
    Text,
    Tool,
    ToolCall,
)
from enclave_server.chat.cost import Amount, amounts, octets, walk

MOST = 1000
HELLO = [Message("user", "Hello")]


def cost(question: Conversation | Continuation, most: int = MOST) -> dict[tuple[str, str], int]:
    return {(each.bound, each.param): each.count for each in amounts(question, most)}


def asked(messages: list[Message] | None = None, **fields: Any) -> dict[tuple[str, str], int]:
    return cost(Conversation(model="m", messages=messages or HELLO, **fields))


def continued(prompt: Any, **fields: Any) -> dict[tuple[str, str], int]:
    return cost(Continuation(model="m", prompt=prompt, **fields))


@pytest.mark.parametrize(("text", "size"), [("", 0), ("a", 1), ("é", 2), ("a€", 4), ("😀", 4)])
def test_text_is_counted_in_utf8(text: str, size: int) -> None:
    assert octets(text) == size
    assert asked([Message("user", text)])["text_bytes", "messages"] == size
    assert continued(text)["text_bytes", "prompt"] == size


def test_what_is_resent_of_thoughts_is_text_too() -> None:
    called = ToolCall(0, "f", "{}", State("d", b"\xff" * 5))
    said = Message("assistant", "a", reasoning="é", state=State("d", bytes(10)), calls=[called])
    assert asked([said])["text_bytes", "messages"] == 1 + 2 + 10 + len("f{}") + 5


def test_the_least_that_a_conversation_costs() -> None:
    assert list(amounts(Conversation(model="m", messages=HELLO), MOST)) == [
        Amount("choices", "n", 1),
        Amount("messages", "messages", 1),
        Amount("images", "messages", 0),
        Amount("text_bytes", "messages", 5),
    ]


def test_what_is_cheap_to_count_comes_first() -> None:
    question = Conversation(model="m", messages=HELLO, logit_bias={"1": 1, "2": 2}, stop=["é", "b"])
    assert list(amounts(question, MOST))[:2] == [
        Amount("logit_bias", "logit_bias", 2),
        Amount("stop_bytes", "stop", 3),
    ]
    assert asked(stop="abc")["stop_bytes", "stop"] == 3


def test_messages_count_with_their_parts_and_calls() -> None:
    calls = [ToolCall(0, "name", "{}"), ToolCall(1, "n", "arg")]
    messages = [
        Message("user", [Text("ab"), Image("https://x/y"), Refusal("c")]),
        Message("assistant", None, refusal="no", calls=calls),
        Message("tool", "done", result_of=0),
    ]
    found = asked(messages)
    assert found["messages", "messages"] == 3 + 3 + 2
    assert found["images", "messages"] == 1
    # ab c, no, name {} n arg, done; a URL is no text.
    assert found["text_bytes", "messages"] == 3 + 2 + (4 + 2 + 1 + 3) + 4


def test_tools_and_schemas_are_summed_up() -> None:
    schema = {"type": "object", "enum": ["é", 1, None, []]}
    found = asked(
        tools=[Tool("f", "ab", schema), Tool("g")],
        response_format=ObjectOf("o", "cd", {"a": {"b": True}}),
    )
    assert found["tools", "tools"] == 2
    # The object, "object", the list and its four; the empty object of a tool without a schema.
    assert found["schema_nodes", "tools"] == 7 + 1
    assert found["schema_depth", "tools"] == 3
    # 5 of the message; ab, type, enum, object, é.
    assert found["text_bytes", "tools"] == 5 + 2 + 4 + 4 + 6 + 2
    assert found["schema_nodes", "response_format"] == 8 + 3
    assert found["schema_depth", "response_format"] == 3
    assert found["text_bytes", "response_format"] == 23 + 2 + 1 + 1
    assert ("tools", "response_format") not in found


def test_a_format_without_a_schema_costs_nothing() -> None:
    assert asked(response_format=AnyObject()) == asked()


@pytest.mark.parametrize("most", [0, 3, 10])
def test_a_schema_is_read_no_further_than_one_above_the_most(most: int) -> None:
    class Endless(list[Any]):
        def __iter__(self) -> Any:
            for number in range(10**9):
                assert number <= most
                yield number

    question = Conversation(model="m", messages=HELLO, tools=[Tool("f", None, {"x": Endless()})])
    assert cost(question, most)["schema_nodes", "tools"] == most + 1


def test_depth_is_counted_without_recursion() -> None:
    schema: dict[str, Any] = {}
    for _ in range(20_000):
        schema = {"a": [schema]}
    assert max(depth for _, depth in walk(schema)) == 40_001
    assert list(walk({"a": [1]})) == [({"a": [1]}, 1), ([1], 2), (1, 3)]
    assert list(walk("x")) == [("x", 1)]


@pytest.mark.parametrize(
    ("prompt", "size", "choices"),
    [
        ("é", 2, 1),
        (["ab", "c"], 3, 2),
        ([1, 2, 3], 3, 1),
        ([[1, 2], [3]], 3, 2),
    ],
)
def test_prompts_are_text_or_tokens(prompt: Any, size: int, choices: int) -> None:
    found = continued(prompt)
    assert found["text_bytes", "prompt"] == size
    assert found["choices", "prompt" if choices > 1 else "n"] == choices
    assert continued(prompt, suffix="ab")["text_bytes", "suffix"] == size + 2


@pytest.mark.parametrize(
    ("fields", "param", "count"),
    [
        ({"n": 3}, "n", 3),
        ({"best_of": 2}, "best_of", 2),
        ({"best_of": 3}, "best_of", 3),
        ({"n": 3, "best_of": 4}, "best_of", 4),
        ({"n": 4, "best_of": 4}, "n", 4),
    ],
)
def test_choices_are_laid_to_what_has_most_to_do_with_them(
    fields: dict[str, int], param: str, count: int
) -> None:
    assert continued("x", **fields)["choices", param] == count
    assert continued(["x", "y"], **fields)["choices", "prompt"] == 2 * count

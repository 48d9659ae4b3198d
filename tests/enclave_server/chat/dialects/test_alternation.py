"""Turns: neighbours of one role are one, results come first and in the calls' order."""

from typing import Any

import pytest

from enclave_server.chat.conversation import Image, Message, Text
from enclave_server.chat.dialects.alternation import alternate, instructions, texts_of
from enclave_server.chat.errors import ChatError

SYSTEM, DEVELOPER = Message("system", "s"), Message("developer", "d")


def blocks(index: int, message: Message) -> list[dict[str, Any]]:
    return [{"at": index, "text": text} for text in texts_of(message) if text]


def turns(*messages: Message) -> list[tuple[str, list[int]]]:
    written = alternate(list(messages), blocks)
    return [(turn["role"], [block["at"] for block in turn["content"]]) for turn in written]


def test_instructions_stand_apart_as_long_as_nobody_has_spoken() -> None:
    parts: list[Any] = [Text("t"), Text(""), Text("u")]
    messages = [SYSTEM, Message("developer", parts), Message("user", "x"), DEVELOPER]
    assert instructions(messages) == ["s", "t", "u"]
    assert turns(*messages) == [("user", [2]), ("system", [3])]


def test_neighbours_of_one_role_are_one_turn() -> None:
    said = [Message("user", "a"), Message("user", "b"), Message("assistant", "c")]
    assert turns(*said, Message("assistant", "d"), Message("user", "e")) == [
        ("user", [0, 1]),
        ("assistant", [2, 3]),
        ("user", [4]),
    ]


def test_whoever_says_nothing_has_no_turn() -> None:
    assert turns(Message("user", "a"), Message("assistant", ""), Message("user", "b")) == [
        ("user", [0, 2])
    ]


def test_results_are_the_users_in_the_order_of_the_calls() -> None:
    results = [Message("tool", "r", result_of=number) for number in (2, 0, 1)]
    assert turns(Message("assistant", "c"), *results, Message("user", "x")) == [
        ("assistant", [0]),
        ("user", [2, 3, 1, 4]),
    ]


@pytest.mark.parametrize("messages", [[SYSTEM], [SYSTEM, DEVELOPER], [Message("assistant", "")]])
def test_somebody_has_to_say_something(messages: list[Message]) -> None:
    with pytest.raises(ChatError) as caught:
        turns(*messages)
    assert caught.value.param == "messages"


def test_texts_are_what_is_read() -> None:
    shown: list[Any] = [Text("a"), Image("data:x"), Text("b")]
    assert texts_of(Message("user", shown)) == ["a", "b"]
    assert texts_of(Message("assistant", None)) == [""]

"""Every call has its one result, at once; every result its call."""

import pytest

from enclave_server.chat.conversation import Message, ToolCall
from enclave_server.chat.dialects.pairing import check_pairs
from enclave_server.chat.errors import ChatError

USER, SAID = Message("user", "x"), Message("assistant", "y")


def calls(*numbers: int) -> Message:
    return Message("assistant", calls=[ToolCall(number, "f", "{}") for number in numbers])


def results(*numbers: int) -> list[Message]:
    return [Message("tool", "r", result_of=number) for number in numbers]


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, SAID, USER],
        [calls(0, 1), *results(1, 0), USER],
        [calls(0), *results(0), calls(1), *results(1), SAID],
        # Two messages of one turn.
        [SAID, calls(0), calls(1), *results(0, 1)],
    ],
)
def test_pairs_are_taken(messages: list[Message]) -> None:
    check_pairs(messages)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([calls(0)], "messages[0].tool_calls[0]"),
        ([USER, calls(0, 1), *results(0)], "messages[1].tool_calls[1]"),
        ([calls(0, 1), *results(1), USER], "messages[0].tool_calls[0]"),
        ([calls(0), USER, *results(0)], "messages[0].tool_calls[0]"),
        ([calls(0, 1), *results(0), SAID, *results(1)], "messages[0].tool_calls[1]"),
        ([USER, *results(0)], "messages[1].tool_call_id"),
        ([calls(0), *results(0, 0)], "messages[2].tool_call_id"),
        ([calls(0), *results(0), USER, *results(0)], "messages[3].tool_call_id"),
        ([calls(0), *results(1, 0)], "messages[1].tool_call_id"),
    ],
)
def test_whoever_is_alone_is_named(messages: list[Message], param: str) -> None:
    with pytest.raises(ChatError) as caught:
        check_pairs(messages)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message

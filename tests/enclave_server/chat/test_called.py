"""Calls and their results: what is in pairs passes, and what is not is named."""

import pytest

from enclave_server.chat.called import arguments_of, check_calls, check_pairs
from enclave_server.chat.conversation import Conversation, Message, ToolCall
from enclave_server.chat.errors import ChatError

HELLO, SAID = Message("user", "Hello"), Message("assistant", "y")


def calls(*numbers: int, arguments: str = "{}") -> Message:
    asked = [ToolCall(number, "f", arguments) for number in numbers]
    return Message("assistant", None, calls=asked)


def result(number: int) -> Message:
    return Message("tool", "x", result_of=number)


def results(*numbers: int) -> list[Message]:
    return [result(number) for number in numbers]


def check(*messages: Message) -> None:
    check_calls(Conversation(model="m", messages=list(messages)))


def test_pairs_pass() -> None:
    check(HELLO, calls(0, 1), result(1), result(0), HELLO, calls(2), result(2))
    check(calls(0), Message("assistant", "text after a call"), result(0))
    check(calls(0, arguments=""), result(0))


WRONG: dict[str, tuple[list[Message], str]] = {
    "no result before the user speaks": (
        [calls(0, 1), result(0), HELLO, result(1)],
        "messages[0].tool_calls[1]",
    ),
    "no result at the end": ([HELLO, calls(0)], "messages[1].tool_calls[0]"),
    "a result of no call": ([HELLO, result(0)], "messages[1].tool_call_id"),
    "two results": ([calls(0), result(0), result(0)], "messages[2].tool_call_id"),
    "arguments that are cut": (
        [calls(0, arguments='{"a":'), result(0)],
        "messages[0].tool_calls[0].function.arguments",
    ),
    "arguments of two calls": (
        [calls(0, arguments="{}{}"), result(0)],
        "messages[0].tool_calls[0].function.arguments",
    ),
    "arguments that are a list": (
        [HELLO, calls(0, arguments="[1]"), result(0)],
        "messages[1].tool_calls[0].function.arguments",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_pair_is_named(case: str) -> None:
    messages, param = WRONG[case]
    with pytest.raises(ChatError) as caught:
        check(*messages)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert f"'{param}'" in caught.value.message


def test_no_arguments_are_an_empty_object() -> None:
    assert [arguments_of(text) for text in ("", " ", '{"a":1}')] == ["{}", "{}", '{"a":1}']


@pytest.mark.parametrize(
    "messages",
    [
        [HELLO],
        [HELLO, SAID, HELLO],
        [calls(0, 1), *results(1, 0), HELLO],
        [calls(0), *results(0), calls(1), *results(1), SAID],
        # Two messages of one turn.
        [SAID, calls(0), calls(1), *results(0, 1)],
    ],
)
def test_pairs_that_follow_at_once_are_taken_everywhere(messages: list[Message]) -> None:
    check_pairs(messages)
    check(*messages)


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([calls(0)], "messages[0].tool_calls[0]"),
        ([HELLO, calls(0, 1), *results(0)], "messages[1].tool_calls[1]"),
        ([calls(0, 1), *results(1), HELLO], "messages[0].tool_calls[0]"),
        ([calls(0), HELLO, *results(0)], "messages[0].tool_calls[0]"),
        ([calls(0, 1), *results(0), SAID, *results(1)], "messages[0].tool_calls[1]"),
        ([HELLO, *results(0)], "messages[1].tool_call_id"),
        ([calls(0), *results(0, 0)], "messages[2].tool_call_id"),
        ([calls(0), *results(0), HELLO, *results(0)], "messages[3].tool_call_id"),
        ([calls(0), *results(1, 0)], "messages[1].tool_call_id"),
    ],
)
def test_whoever_is_not_answered_at_once_is_named(messages: list[Message], param: str) -> None:
    with pytest.raises(ChatError) as caught:
        check_pairs(messages)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert param in caught.value.message


@pytest.mark.parametrize(
    "messages",
    [
        [calls(0), Message("developer", "Be brief."), result(0)],
        [calls(0, 1), result(0), SAID, result(1)],
    ],
)
def test_what_comes_between_is_refused_where_results_come_at_once(messages: list[Message]) -> None:
    check(*messages)
    with pytest.raises(ChatError):
        check_pairs(messages)


@pytest.mark.parametrize("written", ['{"a":[1.50,"b c"]}', '{ "a": [1.50, "b c"] }\n'])
def test_arguments_have_one_form_however_a_program_spaces_them(written: str) -> None:
    assert arguments_of(written) == '{"a":[1.50,"b c"]}'


@pytest.mark.parametrize("written", ['{"a":', "{}{}", "\ud800"])
def test_what_is_no_json_stays_for_who_refuses_it(written: str) -> None:
    assert arguments_of(written) == written

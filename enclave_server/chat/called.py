"""Calls and their results: every upstream wants them in pairs, and arguments that are an object.

Most refuse what is not, in words that help nobody.
"""

from collections.abc import Callable

import msgspec

from enclave_server.chat.conversation import Conversation, Message
from enclave_server.chat.errors import ChatError, invalid

# Whether no more results are taken when, after the first role, the second speaks.
Ends = Callable[[str, str], bool]


def check_calls(question: Conversation) -> None:
    """Refuse what no upstream takes; raises ChatError 400.

    That is a call without its result before the user speaks, a result without its call, and
    arguments that are no object.
    """
    _check_arguments(question.messages)
    _check_pairs(question.messages, _is_heard)


def check_pairs(messages: list[Message]) -> None:
    """Raise ChatError 400 unless the results of a turn's calls, one each, follow it at once.

    Servers of OpenAI's chat completions differ in that; all other providers refuse it.
    """
    _check_pairs(messages, _is_other_turn)


def arguments_of(arguments: str) -> str:
    """Return the arguments of a call as the JSON of an object, also of one that has none.

    In one form: how a program spaces what it sends back tells which one it is. What is no JSON
    stays as it is, for `check_calls` to refuse.
    """
    if not arguments.strip():
        return "{}"
    try:
        return msgspec.json.format(arguments, indent=-1)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return arguments


def _check_pairs(messages: list[Message], ends: Ends) -> None:
    awaited: dict[int | None, str] = {}
    before = ""
    for index, message in enumerate(messages):
        if message.role == "tool":
            if awaited.pop(message.result_of, None) is None:
                raise _stray_result(f"messages[{index}].tool_call_id")
        elif awaited and ends(before, message.role):
            raise _lone_call(awaited)
        for position, call in enumerate(message.calls or ()):
            awaited[call.number] = _place(index, position)
        before = message.role
    if awaited:
        raise _lone_call(awaited)


def _is_heard(before: str, role: str) -> bool:
    return role == "user"


def _is_other_turn(before: str, role: str) -> bool:
    # Text after a call is another message of the same turn.
    return (before, role) != ("assistant", "assistant")


def _check_arguments(messages: list[Message]) -> None:
    for index, message in enumerate(messages):
        for position, call in enumerate(message.calls or ()):
            if not _is_object(call.arguments):
                raise _no_object(f"{_place(index, position)}.function.arguments")


def _is_object(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments_of(arguments), type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _place(index: int, position: int) -> str:
    return f"messages[{index}].tool_calls[{position}]"


def _no_object(place: str) -> ChatError:
    return invalid(
        f"'{place}' is no JSON object. If the model wrote it so, leave this call and its result "
        "out, or repair it.",
        place,
        "invalid_value",
    )


def _lone_call(awaited: dict[int | None, str]) -> ChatError:
    place = next(iter(awaited.values()))
    sentence = f"'{place}' has no result: a tool's message for each call has to follow at once."
    return invalid(sentence, place, "invalid_value")


def _stray_result(place: str) -> ChatError:
    sentence = f"'{place}' is of no call of the turn before it, or of one that has its result."
    return invalid(sentence, place, "invalid_value")

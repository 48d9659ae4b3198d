"""Calls and their results: every upstream wants them in pairs, and arguments that are an object.

Most refuse what is not, in words that help nobody.
"""

import msgspec

from enclave_server.chat.conversation import Conversation
from enclave_server.chat.errors import ChatError, invalid


def check_calls(question: Conversation) -> None:
    """Refuse a call without a result, and arguments that are no object; raises ChatError 400.

    A result without its call has no number, so that every surface has refused it before.
    """
    open_calls: dict[int, str] = {}
    for index, message in enumerate(question.messages):
        if message.role == "user" and open_calls:
            break
        if message.result_of is not None and open_calls.pop(message.result_of, None) is None:
            raise _twice(index)
        for position, call in enumerate(message.calls or ()):
            place = f"messages[{index}].tool_calls[{position}]"
            if not _is_object(call.arguments):
                raise _no_object(f"{place}.function.arguments")
            open_calls[call.number] = place
    for place in open_calls.values():
        raise invalid(
            f"'{place}' has no result: the messages after it have to answer each call.",
            place,
            "invalid_value",
        )


def arguments_of(arguments: str) -> str:
    """Return the arguments of a call as the JSON of an object, also of one that has none."""
    return arguments if arguments.strip() else "{}"


def _is_object(arguments: str) -> bool:
    try:
        msgspec.json.decode(arguments_of(arguments), type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


def _no_object(place: str) -> ChatError:
    return invalid(
        f"'{place}' is no JSON object. If the model wrote it so, leave this call and its result "
        "out, or repair it.",
        place,
        "invalid_value",
    )


def _twice(index: int) -> ChatError:
    place = f"messages[{index}].tool_call_id"
    return invalid(f"'{place}' names a call that has its result, or is too far back.", place)

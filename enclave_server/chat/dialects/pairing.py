"""Calls and results in pairs: every provider refuses a call without its result, or the reverse."""

from enclave_server.chat.conversation import Message
from enclave_server.chat.errors import ChatError, invalid


def check_pairs(messages: list[Message]) -> None:
    """Raise ChatError 400 unless the results of a turn's calls, one each, follow it at once."""
    awaited: dict[int | None, str] = {}
    before = ""
    for index, message in enumerate(messages):
        place = f"messages[{index}]"
        if message.role == "tool":
            if awaited.pop(message.result_of, None) is None:
                raise _stray_result(f"{place}.tool_call_id")
        else:
            if awaited and (before, message.role) != ("assistant", "assistant"):
                raise _lone_call(awaited)
            calls = enumerate(message.calls or ())
            awaited |= {call.number: f"{place}.tool_calls[{n}]" for n, call in calls}
        before = message.role
    if awaited:
        raise _lone_call(awaited)


def _lone_call(awaited: dict[int | None, str]) -> ChatError:
    place = next(iter(awaited.values()))
    sentence = f"'{place}' has no result: a tool's message for each call has to follow at once."
    return invalid(sentence, place, "invalid_value")


def _stray_result(place: str) -> ChatError:
    sentence = f"'{place}' is of no call of the turn before it, or of one that has its result."
    return invalid(sentence, place, "invalid_value")

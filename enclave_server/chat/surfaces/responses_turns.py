"""Items put together into messages: what the model said, thought and called in one turn is one."""

import msgspec

from enclave_server.chat.conversation import Content, Message, Part, State, Text, ToolCall
from enclave_server.chat.errors import invalid
from enclave_server.chat.states import Malformed
from enclave_server.chat.surfaces.responses_states import unseal


class Turns:
    """Takes items in their order, and knows their calls by the identifiers that they have."""

    __slots__ = ("_calls", "_made", "_messages", "_numbers", "_parts", "_states", "_thoughts")

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._numbers: dict[str, int] = {}
        self._made = 0
        self._parts: list[Part] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []
        self._states: dict[int | None, State] = {}

    def say(self, message: Message) -> None:
        """Add what somebody else than the model says, which ends its turn."""
        self._end_turn()
        self._messages.append(message)

    def answer(self, parts: list[Part]) -> None:
        """Add what the model says."""
        self._parts += parts

    def call(self, identifier: str, name: str, arguments: str) -> None:
        """Add what the model calls."""
        self._numbers[identifier] = self._made
        self._calls.append(ToolCall(self._made, name, arguments))
        self._made += 1

    def think(self, text: str, sealed: str | None, place: str) -> None:
        """Add what the model thinks, with its state; raises ChatError 400 for a false one."""
        if text:
            self._thoughts.append(text)
        if sealed is None:
            return
        try:
            number, state = unseal(sealed)
        except Malformed:
            param = f"{place}.encrypted_content"
            raise invalid(
                f"'{param}' was not given here, or not like this.", param, "invalid_value"
            ) from None
        self._states[number] = state

    def result(self, identifier: str, content: Content, place: str) -> None:
        """Add what a function returned; raises ChatError 400 if nobody called it."""
        self._end_turn()
        number = self._numbers.get(identifier)
        if number is None:
            param = f"{place}.call_id"
            raise invalid(f"'{param}' names no call of an earlier item.", param, "invalid_value")
        self._messages.append(Message("tool", content, result_of=number))

    def messages(self) -> list[Message]:
        """Return all messages."""
        self._end_turn()
        return self._messages

    def _end_turn(self) -> None:
        calls = [
            msgspec.structs.replace(call, state=self._states.get(number))
            for number, call in enumerate(self._calls)
        ]
        thought, state = "".join(self._thoughts), self._states.get(None)
        if self._parts or calls or thought or state:
            content = _plain(self._parts)
            self._messages.append(
                Message(
                    "assistant",
                    content,
                    calls=calls or None,
                    reasoning=thought or None,
                    state=state,
                )
            )
        self._parts, self._thoughts, self._calls, self._states = [], [], [], {}


def _plain(parts: list[Part]) -> Content | None:
    """Return the content that parts are: text alone where there is one."""
    match parts:
        case []:
            return None
        case [Text(text=text)]:
            return text
    return parts

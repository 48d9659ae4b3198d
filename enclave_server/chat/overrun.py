"""An answer that runs far beyond the tokens that were paid for is ended there, as by its limit.

A provider is told the limit, and most keep to it. Of one that does not nobody learns how many
tokens it has made before the answer ends, so characters stand for them, generously: nobody shall be
cut off who has what he paid for. With the tokens of OpenAI's o200k_base prose has up to 6
characters in each, code 6, a table that is drawn 7. Octets would not do: Hindi has 10 in a token.
"""

from enclave_server.chat.conversation import Delta, Event

CHARACTERS_PER_TOKEN = 16


class Overrun:
    """Counts what an answer says, in all its choices, against the tokens that were paid for."""

    __slots__ = ("_left",)

    def __init__(self, tokens: int | None) -> None:
        """None is for what is free, which may say what it will."""
        self._left = None if tokens is None else tokens * CHARACTERS_PER_TOKEN

    def is_reached(self, event: Event) -> bool:
        """Count an event; return whether the answer is to end with it."""
        if self._left is None:
            return False
        self._left -= sum(_characters(part.delta) for part in event.choices)
        return self._left < 0


def _characters(delta: Delta) -> int:
    said = (delta.content, delta.reasoning_content, delta.refusal)
    calls = delta.tool_calls or ()
    return sum(len(text) for text in said if text) + sum(
        len(call.function.arguments or "") for call in calls
    )

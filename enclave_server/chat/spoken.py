"""What has been said of a choice when its stream has ended: what is signed of it.

Texts are in UTF-8, as they are hashed: so none is encoded a second time, and a process that signs
gets them as they have been kept.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from enclave_server.chat.errors import Failure, UpstreamError

# The ends of an answer that may stop amid a call.
CUT_OFF = frozenset({"length", "content_filter"})


def is_readable(name: str, arguments: str) -> bool:
    """Whether a program can read a call: it has a name, and arguments in JSON or none at all."""
    if not name:
        return False
    if not arguments.strip():
        return True
    try:
        msgspec.json.decode(arguments, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return True


class SpokenCall(msgspec.Struct, frozen=True):
    """A tool call as it has been kept, its arguments in UTF-8."""

    id: str
    name: str
    arguments: bytearray


class Spoken(msgspec.Struct, frozen=True):
    """A choice as it has been kept, its texts in UTF-8: what is signed of it."""

    index: int
    text: bytearray
    reasoning: bytearray
    refusal: bytearray
    calls: list[SpokenCall]
    finish_reason: str | None

    def output(self) -> dict[str, Any]:
        """Return what `protocol.signature` signs of it."""
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments.decode()},
            }
            for call in self.calls
        ]
        return {
            "index": self.index,
            "content": self.text.decode(),
            "reasoning_content": self.reasoning.decode(),
            "refusal": self.refusal.decode(),
            "tool_calls": calls,
            "finish_reason": self.finish_reason,
        }


def require_readable(choices: Iterable[Spoken]) -> None:
    """Raise UpstreamError for a call without a name or arguments, unless its choice was cut off."""
    for choice in choices:
        if choice.finish_reason not in CUT_OFF and not all(
            is_readable(call.name, call.arguments.decode()) for call in choice.calls
        ):
            raise UpstreamError(Failure.TOOL_USE_FAILED)

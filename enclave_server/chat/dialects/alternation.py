"""Messages for providers that hear a user and an assistant in turns, and instructions apart."""

from collections.abc import Callable, Iterator
from itertools import groupby, takewhile
from typing import Any

from enclave_server.chat.conversation import Message, Text
from enclave_server.chat.dialects.parts import INSTRUCTING
from enclave_server.chat.errors import invalid

Json = dict[str, Any]
BlocksOf = Callable[[int, Message], list[Json]]
"""Returns the blocks of the message of that index."""

SPEAKERS = {"developer": "system", "tool": "user"}


def instructions(messages: list[Message]) -> list[str]:
    """Return the texts with which a conversation begins, of whoever may instruct."""
    leading = takewhile(lambda message: message.role in INSTRUCTING, messages)
    return [text for message in leading for text in texts_of(message) if text]


def alternate(messages: list[Message], blocks_of: BlocksOf) -> list[Json]:
    """Return turns of `role` and `content`, without the instructions that come first.

    Neighbours of one role make one turn, as they do for the model: so it tells nothing by which
    surface they came. The results of calls have the calls' order. Raises ChatError if nobody
    says anything.
    """
    turns: list[Json] = []
    for index, message in _after_instructions(messages):
        role = SPEAKERS.get(message.role, message.role)
        blocks = blocks_of(index, message)
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": role, "content": blocks})
    if not turns:
        raise invalid("'messages' say nothing but instructions.", "messages", "invalid_value")
    return turns


def texts_of(message: Message) -> list[str]:
    """Return the texts of a message that is made of text."""
    content = message.content or ""
    if isinstance(content, str):
        return [content]
    return [part.text for part in content if isinstance(part, Text)]


def _after_instructions(messages: list[Message]) -> Iterator[tuple[int, Message]]:
    groups = groupby(enumerate(messages), lambda numbered: numbered[1].role == "tool")
    begun = False
    for is_tools, group in groups:
        run = sorted(group, key=lambda numbered: numbered[1].result_of or 0) if is_tools else group
        for index, message in run:
            begun = begun or message.role not in INSTRUCTING
            if begun:
                yield index, message

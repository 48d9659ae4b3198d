"""Instructions that stand between messages: where a model has no place for them, a user says them.

Some programs instruct in the midst of a conversation, and some models take instructions before all
messages alone. To put them there would change their order, and for models that were told to obey
what comes first more than that. So they stay where they are, as words of the user's that are
marked. That moves text to who is trusted less, never to who is trusted more: the mark has no
meaning but the one that a model reads in it, and a user who writes it has only said what users may
say anyway. `GET /v1/models` tells which model hears them so.
"""

import msgspec

from enclave_server.chat.conversation import Conversation, Message, Text
from enclave_server.chat.dialects.parts import INSTRUCTING, later_instructions
from enclave_server.chat.profiles import LaterInstructions

OPEN, CLOSE = "<system>\n", "\n</system>"


def placed(question: Conversation, place: LaterInstructions) -> Conversation:
    """Return `question` with its later instructions in `place`; ChatError 400 if there is none."""
    later = _later(question.messages)
    if place == "system" or not later:
        return question
    if place == "none":
        raise later_instructions(f"messages[{min(later)}]")
    said = [
        _marked(message) if index in later else message
        for index, message in enumerate(question.messages)
    ]
    return msgspec.structs.replace(question, messages=said)


def _later(messages: list[Message]) -> set[int]:
    """Return where instructions stand that do not stand before all else."""
    instructing = {i for i, message in enumerate(messages) if message.role in INSTRUCTING}
    begin = next((i for i in range(len(messages)) if i not in instructing), len(messages))
    return instructing.difference(range(begin))


def _marked(message: Message) -> Message:
    content = message.content or ""
    if isinstance(content, str):
        return Message("user", _mark(content))
    return Message(
        "user",
        [Text(_mark(part.text)) if isinstance(part, Text) else part for part in content],
    )


def _mark(text: str) -> str:
    return f"{OPEN}{text}{CLOSE}" if text else ""

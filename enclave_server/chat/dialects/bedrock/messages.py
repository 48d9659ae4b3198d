"""Messages as Converse's blocks: text, images, documents, calls with results, signed thoughts."""

from collections.abc import Iterator
from itertools import count
from typing import Any

from enclave_server.chat.called import check_pairs
from enclave_server.chat.conversation import (
    Conversation,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    ToolCall,
)
from enclave_server.chat.dialects.alternation import alternate, instructions, texts_of
from enclave_server.chat.dialects.parts import (
    arguments_of,
    identifier,
    inline_image,
    not_empty,
    parts_of,
    pieces_of,
    refuse_prefill,
)
from enclave_server.chat.profiles import Profile
from enclave_server.chat.thoughts import Hidden, Said, Thought, said

NAME = "bedrock"

Json = dict[str, Any]


def write_messages(question: Conversation, profile: Profile) -> Json:
    """Return `messages`, and `system` if anybody instructs; raises ChatError."""
    messages = question.messages
    check_pairs(messages)
    refuse_prefill(messages, profile)
    turns = alternate(messages, _Writer().blocks)
    system = "\n\n".join(instructions(messages))
    return {"messages": turns, **({"system": [{"text": system}]} if system else {})}


class _Writer:
    """Writes messages; documents are named by their number, which is all that it is told."""

    __slots__ = ("_documents",)

    def __init__(self) -> None:
        self._documents = count(1)

    def blocks(self, index: int, message: Message) -> list[Json]:
        """Return the blocks of the message of that index."""
        place = f"messages[{index}]"
        match message.role:
            case "assistant":
                pieces = pieces_of(message.state, NAME, place)
                return [_said(piece, place) for piece in said(message, pieces)]
            case "tool":
                return [{"toolResult": self._result(message, place)}]
            case "user":
                return not_empty(list(self._parts(message, place)), place)
            case _:
                return not_empty([{"text": text} for text in texts_of(message) if text], place)

    def _result(self, message: Message, place: str) -> Json:
        called = identifier(message.result_of or 0)
        failed = {"status": "error"} if message.failed else {}
        return {"toolUseId": called, "content": list(self._parts(message, place)), **failed}

    def _parts(self, message: Message, place: str) -> Iterator[Json]:
        for where, part in parts_of(message, place):
            yield self._part(part, where)

    def _part(self, part: Part, place: str) -> Json:
        match part:
            case Text(text=text) | Refusal(text=text):
                return {"text": text}
            case File(data=data):
                name = f"document {next(self._documents)}"
                return {"document": {"format": "pdf", "name": name, "source": {"bytes": data}}}
            case Image():
                image = inline_image(part, place)
                kind = image.media_type.removeprefix("image/")
                return {"image": {"format": kind, "source": {"bytes": image.data_base64}}}


def _said(piece: Said, place: str) -> Json:
    match piece:
        case str():
            return {"text": piece}
        case Thought(text=text, signature=signature):
            thought = {"text": text, "signature": signature}
            return {"reasoningContent": {"reasoningText": thought}}
        case Hidden(data=data):
            return {"reasoningContent": {"redactedContent": data}}
        case ToolCall(number=number, name=name):
            given = arguments_of(piece, place)
            return {"toolUse": {"toolUseId": identifier(number), "name": name, "input": given}}

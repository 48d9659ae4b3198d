"""Messages as Anthropic's blocks: text, images, documents, calls with results, signed thoughts."""

from collections.abc import Iterator
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
    refuse_detail,
    refuse_prefill,
)
from enclave_server.chat.profiles import Profile
from enclave_server.chat.thoughts import Hidden, Said, Thought, said

NAME = "anthropic"

Json = dict[str, Any]


def write_messages(question: Conversation, profile: Profile) -> Json:
    """Return `messages`, and `system` if anybody instructs; raises ChatError."""
    messages = question.messages
    check_pairs(messages)
    refuse_prefill(messages, profile)
    turns = alternate(messages, _Writer(profile).blocks)
    system = "\n\n".join(instructions(messages))
    return {**({"system": system} if system else {}), "messages": turns}


class _Writer:
    """Writes messages as one provider takes them."""

    __slots__ = ("_profile",)

    def __init__(self, profile: Profile) -> None:
        self._profile = profile

    def blocks(self, index: int, message: Message) -> list[Json]:
        """Return the blocks of the message of that index."""
        place = f"messages[{index}]"
        match message.role:
            case "assistant":
                pieces = pieces_of(message.state, NAME, place)
                return [_said(piece, place) for piece in said(message, pieces)]
            case "tool":
                return [self._result(message, place)]
            case "user":
                return not_empty(list(self._parts(message, place)), place)
            case _:
                return not_empty([_text(text) for text in texts_of(message) if text], place)

    def _result(self, message: Message, place: str) -> Json:
        block: Json = {"type": "tool_result", "tool_use_id": identifier(message.result_of or 0)}
        if content := list(self._parts(message, place)):
            block["content"] = content
        if message.failed:
            block["is_error"] = True
        return block

    def _parts(self, message: Message, place: str) -> Iterator[Json]:
        for where, part in parts_of(message, place):
            yield self._part(part, where)

    def _part(self, part: Part, place: str) -> Json:
        match part:
            case Text(text=text) | Refusal(text=text):
                return _text(text)
            case File(data=data, media_type=media_type):
                return {"type": "document", "source": _base64(media_type, data)}
            case Image():
                return {"type": "image", "source": self._source(part, place)}

    def _source(self, image: Image, place: str) -> Json:
        if self._profile.remote_images and image.url.startswith("https://"):
            refuse_detail(image, place)
            return {"type": "url", "url": image.url}
        found = inline_image(image, place)
        return _base64(found.media_type, found.data_base64)


def _said(piece: Said, place: str) -> Json:
    match piece:
        case str():
            return _text(piece)
        case Thought(text=text, signature=signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case Hidden(data=data):
            return {"type": "redacted_thinking", "data": data}
        case ToolCall(number=number, name=name):
            given = arguments_of(piece, place)
            return {"type": "tool_use", "id": identifier(number), "name": name, "input": given}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _base64(media_type: str, data: str) -> Json:
    return {"type": "base64", "media_type": media_type, "data": data}

"""Parts of messages for dialects that know users, assistants, and blocks of content."""

from collections.abc import Iterator
from typing import Any

import msgspec

from enclave_server.chat import called
from enclave_server.chat.conversation import Image, Message, Part, Refusal, State, Text, ToolCall
from enclave_server.chat.dialects.refusals import unsupported_value
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.images import InlineImage, inline
from enclave_server.chat.profiles import Profile
from enclave_server.chat.thoughts import Piece, decode_pieces

Json = dict[str, Any]

INSTRUCTING = ("system", "developer")

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parts_of(message: Message, place: str) -> Iterator[tuple[str, Part]]:
    """Yield the parts of `message` that say something, each with its place."""
    content = message.content or ()
    parts = [Text(content)] if isinstance(content, str) else content
    for number, part in enumerate(parts):
        if not isinstance(part, Text | Refusal) or part.text:
            yield f"{place}.content[{number}]", part


def pieces_of(state: State | None, dialect: str, place: str) -> list[Piece]:
    """Return what `state` says, if it is of this dialect; raises ChatError for garbage."""
    if state is None or state.dialect != dialect:
        return []
    try:
        return decode_pieces(state.value)
    except ValueError:
        param = f"{place}.extra_content"
        raise invalid(f"'{param}' is not what was given.", param, "invalid_value") from None


def identifier(number: int) -> str:
    """Return the identifier of the call of that number, in a form that every provider accepts."""
    return f"call{number:05d}"


def arguments_of(call: ToolCall, place: str) -> msgspec.Raw:
    """Return the arguments of a call, which are a JSON object, in one form; raises ChatError."""
    written = called.arguments_of(call.arguments)
    try:
        _OBJECT.decode(written)
        return msgspec.Raw(msgspec.json.format(written, indent=-1))
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        param = f"{place}.tool_calls.function.arguments"
        sentence = f"'{param}' has to be the text of a JSON object. If a model wrote another text,"
        advice = "leave out the call and its result."
        raise invalid(f"{sentence} {advice}", param, "invalid_value") from None


def not_empty(blocks: list[Json], place: str) -> list[Json]:
    """Return `blocks`, of which there must be one; raises ChatError."""
    if not blocks:
        param = f"{place}.content"
        raise invalid(f"'{param}' is empty, which this model refuses.", param, "invalid_value")
    return blocks


def inline_image(image: Image, place: str) -> InlineImage:
    """Return an image that is in the request, and of which no detail is asked; or ChatError."""
    refuse_detail(image, place)
    found = inline(image.url)
    if found is None:
        param = f"{place}.image_url.url"
        raise invalid(f"'{param}' has to be a data: URL of an image.", param, "invalid_image")
    return found


def refuse_detail(image: Image, place: str) -> None:
    """Raise ChatError if it is said how closely the image is to be looked at."""
    if image.detail not in (None, "auto"):
        raise unsupported_value(f"{place}.image_url.detail", "It takes 'auto' alone.")


def later_instructions(place: str) -> ChatError:
    """Return the refusal of instructions between messages."""
    return unsupported_value(f"{place}.role", "Instructions have to stand before all messages.")


def refuse_prefill(messages: list[Message], profile: Profile) -> None:
    """Raise ChatError if the assistant speaks last and the model does not go on from there."""
    if not profile.prefill and messages[-1].role == "assistant":
        place = f"messages[{len(messages) - 1}].role"
        raise unsupported_value(place, "The last message has to be a user's, or a call's result.")

"""A conversation as Google's contents: turns of a user and a model, made of parts."""

from collections.abc import Iterator
from itertools import dropwhile, takewhile
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    Content,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
)
from enclave_server.chat.dialects.gemini.signatures import STAND_IN, recall
from enclave_server.chat.dialects.parts import (
    INSTRUCTING,
    arguments_of,
    inline_image,
    later_instructions,
)
from enclave_server.chat.dialects.refusals import unsupported_value
from enclave_server.chat.errors import invalid

Json = dict[str, Any]

_OBJECTS = msgspec.json.Decoder(dict[str, Any])


def instructions(messages: list[Message]) -> list[Json]:
    """Return the parts of the instructions with which a conversation begins."""
    leading = takewhile(_instructs, messages)
    return [part for message in leading for part in _parts(message.content or "", "messages")]


def write_contents(messages: list[Message], *, demands_signatures: bool) -> list[Json]:
    """Return the turns after the instructions; `messages` have been checked for pairs.

    Neighbours of one role make one turn: the provider wants all results of a turn's calls in one.
    Raises ChatError 400 for what cannot be said.
    """
    writer = _Writer(messages, demands_signatures)
    turns: list[Json] = []
    for index, message in dropwhile(lambda entry: _instructs(entry[1]), enumerate(messages)):
        role = "model" if message.role == "assistant" else "user"
        parts = list(writer.parts(index, message))
        if turns and turns[-1]["role"] == role and parts:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": role, "parts": parts})
    if not turns:
        raise invalid("'messages' say nothing but instructions.", "messages", "invalid_value")
    if turns[-1]["role"] == "model":
        place = f"messages[{len(messages) - 1}].role"
        raise unsupported_value(place, "It answers a user or a tool: the last message is theirs.")
    return turns


class _Writer:
    """Writes messages; knows by what names the calls of a conversation were made."""

    def __init__(self, messages: list[Message], demands_signatures: bool) -> None:
        self._names = {call.number: call.name for m in messages for call in m.calls or ()}
        self._results = _in_order(messages)
        self._demands = demands_signatures

    def parts(self, index: int, message: Message) -> Iterator[Json]:
        """Yield the parts of the message at `index`."""
        place = f"messages[{index}]"
        if message.role in INSTRUCTING:
            raise later_instructions(place)
        if message.role == "tool":
            yield self._result(self._results[index])
        elif message.role == "assistant":
            yield from _said(message, place)
            for number, call in enumerate(message.calls or ()):
                arguments = arguments_of(call, place)
                signature = recall(call.state, f"{place}.tool_calls[{number}]")
                # Of calls at once the first alone has one.
                if signature is None and not number and self._demands:
                    signature = STAND_IN
                yield _call(call.name, arguments, signature)
        else:
            yield from _parts(message.content or "", f"{place}.content")

    def _result(self, message: Message) -> Json:
        name = self._names[message.result_of or 0]
        response = _returned(message.content or "")
        return {"functionResponse": {"name": name, "response": response}}


def _call(name: str, arguments: msgspec.Raw, signature: str | None) -> Json:
    part: Json = {"functionCall": {"name": name, "args": arguments}}
    return part if signature is None else {**part, "thoughtSignature": signature}


def _in_order(messages: list[Message]) -> dict[int, Message]:
    """Return the results by their place, those of one turn in the order of its calls.

    The provider knows them by it where a function is called twice.
    """
    ordered: dict[int, Message] = {}
    run: list[int] = []
    for index, message in enumerate([*messages, Message("user")]):
        if message.role == "tool":
            run.append(index)
        elif run:
            by_call = sorted(run, key=lambda place: messages[place].result_of or 0)
            ordered |= {place: messages[other] for place, other in zip(run, by_call, strict=True)}
            run = []
    return ordered


def _returned(content: Content) -> Json:
    """Return what a function returned: an object as it is, text under a name."""
    text = content if isinstance(content, str) else "".join(_text(part) for part in content)
    try:
        return _OBJECTS.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return {"result": text}


def _text(part: Part) -> str:
    if isinstance(part, Text | Refusal):
        return part.text
    raise unsupported_value("messages", "It takes text from a tool; show it in a user's message.")


def _said(message: Message, place: str) -> list[Json]:
    """Return the parts of what the model said; of nothing the provider wants none."""
    content = message.content or []
    texts = [content] if isinstance(content, str) else [_text(part) for part in content]
    parts: list[Json] = [{"text": text} for text in [*texts, message.refusal] if text]
    if (signature := recall(message.state, place)) is not None:
        # It came with the last of the text, or alone.
        parts = parts or [{"text": ""}]
        parts[-1] = {**parts[-1], "thoughtSignature": signature}
    return parts


def _parts(content: Content, place: str) -> list[Json]:
    if isinstance(content, str):
        return [{"text": content}]
    return [_part(part, f"{place}[{index}]") for index, part in enumerate(content)]


def _part(part: Part, place: str) -> Json:
    match part:
        case Text(text=text) | Refusal(text=text):
            return {"text": text}
        case Image():
            image = inline_image(part, place)
            return {"inlineData": {"mimeType": image.media_type, "data": image.data_base64}}
        case File(data=data, media_type=media_type):
            return {"inlineData": {"mimeType": media_type, "data": data}}


def _instructs(message: Message) -> bool:
    return message.role in INSTRUCTING

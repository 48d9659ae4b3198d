"""Messages of OpenAI's API, written in one way whoever wrote them."""

from collections.abc import Iterator
from typing import Any

from enclave_server.chat.called import arguments_of
from enclave_server.chat.conversation import (
    Content,
    File,
    Image,
    Message,
    Part,
    Refusal,
    Text,
    ToolCall,
)
from enclave_server.chat.dialects.openai_chat.thoughts import said_again, signed_again
from enclave_server.chat.profiles import Profile

# Of every file: what it is called at home tells whose it is.
FILE_NAME = "document.pdf"

# What Google's endpoint takes for the signature of a call that comes without.
UNSIGNED = {"extra_content": {"google": {"thought_signature": "skip_thought_signature_validator"}}}

Json = dict[str, Any]


def write_messages(messages: list[Message], profile: Profile) -> list[Json]:
    """Return `messages` as a provider of that `profile` wants them."""
    if profile.joins_roles:
        messages = [*_joined(messages)]
    turn = _turn_of_tools(messages) if profile.reasoning_returns else len(messages)
    written = []
    for index, message in enumerate(messages):
        said = _message(message, profile)
        if index >= turn and message.reasoning and message.role == "assistant":
            said[profile.reasoning_name] = message.reasoning
        written.append(said)
    return written


def _turn_of_tools(messages: list[Message]) -> int:
    """Return where the turn begins in which tools are called, and which is not answered yet."""
    last = max((index for index, m in enumerate(messages) if m.role == "user"), default=-1)
    return last + 1


def _joined(messages: list[Message]) -> Iterator[Message]:
    """Yield `messages`; users' and the assistant's words that follow one another become one."""
    waiting: Message | None = None
    for message in messages:
        if waiting is not None and _are_one(waiting, message):
            content = _parts(waiting.content) + _parts(message.content)
            waiting = Message(message.role, content, calls=message.calls, state=message.state)
            continue
        if waiting is not None:
            yield waiting
        waiting = message
    if waiting is not None:
        yield waiting


def _are_one(first: Message, second: Message) -> bool:
    same = first.role == second.role and first.role in ("user", "assistant")
    return same and not (first.calls or first.refusal or second.refusal)


def _parts(content: Content | None) -> list[Part]:
    return [Text(content)] if isinstance(content, str) else list(content or [])


def _message(message: Message, profile: Profile) -> Json:
    written: Json = {"role": message.role}
    if message.content is not None:
        content = message.content
        written["content"] = (
            content if isinstance(content, str) else [_part(part) for part in content]
        )
    if message.refusal is not None:
        written["refusal"] = message.refusal
    if message.calls:
        written["tool_calls"] = _calls(message.calls, profile)
    if message.result_of is not None:
        written["tool_call_id"] = _identifier(message.result_of)
    if profile.details_return:
        written |= said_again(message.state)
    return written


def _part(part: Part) -> Json:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image(url=url, detail=None):
            return {"type": "image_url", "image_url": {"url": url}}
        case Image(url=url, detail=detail):
            return {"type": "image_url", "image_url": {"url": url, "detail": detail}}
        case File(data=data, media_type=media_type):
            url = f"data:{media_type};base64,{data}"
            return {"type": "file", "file": {"filename": FILE_NAME, "file_data": url}}
        case Refusal(text=text):
            return {"type": "refusal", "refusal": text}


def _identifier(number: int) -> str:
    # Nine letters and digits: the form that every provider accepts.
    return f"call{number:05d}"


def _calls(calls: list[ToolCall], profile: Profile) -> list[Json]:
    written = [_call(call) for call in calls]
    if not profile.signatures_return:
        return written
    signed = [signed_again(call.state) for call in calls]
    if not any(signed):
        signed[0] = UNSIGNED
    return [call | signature for call, signature in zip(written, signed, strict=True)]


def _call(call: ToolCall) -> Json:
    function = {"name": call.name, "arguments": arguments_of(call.arguments)}
    return {"type": "function", "id": _identifier(call.number), "function": function}

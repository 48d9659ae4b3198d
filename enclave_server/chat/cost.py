"""What a request costs: counted in the neutral form, before anything is asked of anybody.

What is cheap to count comes first. Each count stands under the name of the bound that it is held
against, and of the field that the client is told.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from enclave_server.chat.conversation import (
    AnyQuestion,
    Continuation,
    Conversation,
    File,
    Image,
    Message,
    ObjectOf,
    Part,
    State,
)
from enclave_server.chat.embedding import Embedding

Json = Any
"""What a JSON text says."""


class Amount(msgspec.Struct, frozen=True, gc=False):
    """How much of one thing a request asks for: the bound's name, the field's, and the count."""

    bound: str
    param: str
    count: int


def amounts(question: AnyQuestion, most_nodes: int) -> Iterator[Amount]:
    """Yield what `question` costs; schemas are read no further than one node above the most."""
    if question.logit_bias is not None:
        yield Amount("logit_bias", "logit_bias", len(question.logit_bias))
    if question.stop is not None:
        yield Amount("stop_bytes", "stop", sum(map(octets, _listed(question.stop))))
    if isinstance(question, Conversation):
        yield from _of_conversation(question, most_nodes)
    else:
        yield from _of_continuation(question)


def amounts_of_embedding(question: Embedding) -> Iterator[Amount]:
    """Yield what `question` costs: each entry is an answer."""
    yield Amount("choices", "input", len(question.entries))
    yield Amount("text_bytes", "input", _prompt_octets([*question.entries]))


def octets(text: str) -> int:
    """Return the size of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def _of_continuation(question: Continuation) -> Iterator[Amount]:
    yield Amount("choices", _multiplier(question), question.candidates)
    text = _prompt_octets(question.prompt)
    yield Amount("text_bytes", "prompt", text)
    if question.suffix is not None:
        yield Amount("text_bytes", "suffix", text + octets(question.suffix))


def _multiplier(question: Continuation) -> str:
    """Return the field that has most to do with the count of choices."""
    if question.prompts > 1:
        return "prompt"
    return "best_of" if (question.best_of or 1) > (question.n or 1) else "n"


def _prompt_octets(prompt: str | list[str | int | list[int]]) -> int:
    """Return the size of all prompts; a token counts as the one octet that it is at the least."""
    if isinstance(prompt, str):
        return octets(prompt)
    return sum(
        octets(item) if isinstance(item, str) else 1 if isinstance(item, int) else len(item)
        for item in prompt
    )


def _of_conversation(question: Conversation, most_nodes: int) -> Iterator[Amount]:
    yield Amount("choices", "n", question.choices)
    yield Amount("messages", "messages", _entries(question.messages))
    yield Amount("images", "messages", len(question.shown))
    text = sum(map(octets, _texts(question.messages))) + _state_octets(question.messages)
    yield Amount("text_bytes", "messages", text)
    nodes = 0
    for param, described in _described(question):
        if param == "tools":
            yield Amount("tools", param, len(described))
        size = _Size(most_nodes - nodes)
        for description, schema in described:
            size.add(description, schema)
        nodes, text = nodes + size.nodes, text + size.octets
        yield Amount("schema_nodes", param, nodes)
        yield Amount("schema_depth", param, size.depth)
        yield Amount("text_bytes", param, text)


def _entries(messages: list[Message]) -> int:
    return sum(
        1
        + (len(message.content) if isinstance(message.content, list) else 0)
        + (len(message.calls) if message.calls else 0)
        for message in messages
    )


def _texts(messages: list[Message]) -> Iterator[str]:
    for message in messages:
        content = message.content
        if isinstance(content, str):
            yield content
        elif content is not None:
            yield from (_text(part) for part in content)
        if message.refusal is not None:
            yield message.refusal
        if message.reasoning is not None:
            yield message.reasoning
        for call in message.calls or ():
            yield call.name
            yield call.arguments


def _state_octets(messages: list[Message]) -> int:
    states = [state for each in messages for state in (each.state, *_states_of_calls(each))]
    return sum(len(state.value) for state in states if state is not None)


def _states_of_calls(message: Message) -> Iterator[State | None]:
    return (call.state for call in message.calls or ())


def _text(part: Part) -> str:
    return "" if isinstance(part, Image | File) else part.text


_Described = list[tuple[str | None, dict[str, Json] | None]]
"""What is described to the model, each with a schema."""


def _described(question: Conversation) -> Iterator[tuple[str, _Described]]:
    """Yield the fields that have schemas."""
    if question.tools is not None:
        yield "tools", [(tool.description, tool.parameters) for tool in question.tools]
    if isinstance(wanted := question.response_format, ObjectOf):
        yield "response_format", [(wanted.description, wanted.schema)]


class _Size:
    """Counts values, depth and octets, up to one value above the most."""

    __slots__ = ("_most", "depth", "nodes", "octets")

    def __init__(self, most: int) -> None:
        self._most = most
        self.nodes = self.depth = self.octets = 0

    def add(self, description: str | None, schema: dict[str, Json] | None) -> None:
        self.octets += octets(description or "")
        for value, depth in walk(schema or {}):
            self.nodes, self.depth = self.nodes + 1, max(self.depth, depth)
            if self.nodes > self._most:
                return
            if isinstance(value, str):
                self.octets += octets(value)
            elif isinstance(value, dict):
                self.octets += sum(map(octets, value))


def walk(value: Json) -> Iterator[tuple[Json, int]]:
    """Yield every JSON value in `value`, with how deep it stands, without recursion."""
    waiting = [iter((value,))]
    while waiting:
        item = next(waiting[-1], waiting)
        if item is waiting:
            waiting.pop()
            continue
        yield item, len(waiting)
        if isinstance(item, dict):
            waiting.append(iter(item.values()))
        elif isinstance(item, list):
            waiting.append(iter(item))


def _listed(text: str | list[str]) -> list[str]:
    return [text] if isinstance(text, str) else text

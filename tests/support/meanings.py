"""What an answer means, whole or streamed, in one shape that tests compare."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from enclave_server.chat.conversation import Answer, Event, Logprobs, PartState, Usage
from enclave_server.chat.dialects.dialect import StreamReader

Meaning = dict[str, Any]


def meaning_of(answer: Answer) -> Meaning:
    """Return what a whole answer means; identifiers of calls mean nothing."""
    choices = {}
    for choice in answer.choices:
        message = msgspec.to_builtins(choice.message)
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        choices[choice.index] = {
            "content": message["content"] or "",
            "refusal": message["refusal"] or "",
            "reasoning": message.get("reasoning_content", ""),
            "calls": [(call["name"], json.loads(call["arguments"])) for call in calls],
            "tokens": _tokens([choice.logprobs]),
            "finish": choice.finish_reason,
        }
    return _meaning(choices, answer.usage, answer.states)


def meaning_of_stream(reader: StreamReader, data: bytes, cuts: Sequence[int] = ()) -> Meaning:
    """Return what a streamed answer means that arrives in pieces, and raise what it fails with."""
    events: list[Event] = []
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        for event in reader.feed(data[start:end]):
            events.append(event)
            if event.ends:
                return _joined(events)
    return _joined(events)


def everywhere(data: bytes) -> range:
    """Return the places of cuts between any two octets."""
    return range(1, len(data))


def _joined(events: list[Event]) -> Meaning:
    choices: dict[int, Meaning] = {}
    calls: dict[tuple[int, int], list[str]] = {}
    logprobs: dict[int, list[Logprobs | None]] = {}
    for part in (part for event in events for part in event.choices):
        choice = choices.setdefault(
            part.index, {"content": "", "refusal": "", "reasoning": "", "finish": None}
        )
        choice["content"] += part.delta.content or ""
        choice["refusal"] += part.delta.refusal or ""
        choice["reasoning"] += part.delta.reasoning_content or ""
        choice["finish"] = part.finish_reason or choice["finish"]
        logprobs.setdefault(part.index, []).append(part.logprobs)
        for call in part.delta.tool_calls or ():
            if (known := calls.get((part.index, call.index))) is None:
                assert call.id
                assert call.function.name
                known = calls[part.index, call.index] = [call.function.name, ""]
            known[1] += call.function.arguments or ""
    for index, choice in choices.items():
        of_choice = [call for (of, _), call in sorted(calls.items()) if of == index]
        choice["calls"] = [(name, json.loads(arguments)) for name, arguments in of_choice]
        choice["tokens"] = _tokens(logprobs[index])
    usages = [event.usage for event in events if event.usage is not None]
    states = [state for event in events for state in event.states]
    return _meaning(choices, usages[-1] if usages else None, states)


def _tokens(logprobs: Iterable[Logprobs | None]) -> list[Any]:
    content = [token for each in logprobs if each for token in each.content or ()]
    return [
        (token.token, token.logprob, [(top.token, top.logprob) for top in token.top_logprobs])
        for token in content
    ]


def _meaning(
    choices: dict[int, Meaning], usage: Usage | None, states: Sequence[PartState]
) -> Meaning:
    kept = {(part.choice, part.call): (part.state.dialect, part.state.value) for part in states}
    assert len(kept) == len(states), "each is told once"
    return {"choices": choices, "usage": usage and msgspec.to_builtins(usage), "states": kept}

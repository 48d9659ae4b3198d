"""Answers of the Responses API: an object with items, of which nothing is stored."""

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from enclave_server.chat.conversation import Answer, Logprobs, Usage
from enclave_server.chat.surfaces.responses_namespaces import apart
from enclave_server.chat.surfaces.responses_states import seal
from enclave_server.chat.surfaces.surface import Identity

Json = dict[str, Any]
Words = str | Raw
"""A text, or one as it stands in JSON."""

COMPLETED, INCOMPLETE, FAILED, IN_PROGRESS = "completed", "incomplete", "failed", "in_progress"

# Why an answer is not complete, by the neutral form's words for its end.
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response_object(identity: Identity, status: str, output: Sequence[Json], **more: Any) -> Json:
    """Return an answer; its members are those that programs demand."""
    return {
        "id": identity.id,
        "object": "response",
        "created_at": identity.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": identity.model,
        "output": output,
        "parallel_tool_calls": True,
        "store": False,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": None,
        **more,
    }


def ended(
    identity: Identity, reason: str | None, output: Sequence[Json], usage: Usage | None, **more: Any
) -> Json:
    """Return an answer that ended for `reason`, in the neutral form's words."""
    why = _REASONS.get(reason or "")
    details = None if why is None else {"reason": why}
    counted = None if usage is None else usage_object(usage)
    more |= {"incomplete_details": details, "usage": counted}
    return response_object(identity, status_of(reason), output, **more)


def status_of(reason: str | None) -> str:
    """Return whether an answer that ended for `reason` is complete."""
    return INCOMPLETE if reason in _REASONS else COMPLETED


def usage_object(usage: Usage) -> Json:
    """Return the count of tokens; of what was cached nothing is told."""
    details = usage.completion_tokens_details
    thought = details.reasoning_tokens if details else 0
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": usage.total_tokens,
    }


def items_of(answer: Answer, identity: Identity) -> list[Json]:
    """Return the items of an answer, which has one choice."""
    choice = answer.choices[0]
    message, names, status = choice.message, Names(identity), status_of(choice.finish_reason)
    sealed = {given.call: seal(given, identity.origin) for given in answer.states}
    thought = message.reasoning_content or ""
    items: list[Json] = []
    if thought or None in sealed:
        items.append(reasoning(names.next("rs"), thought, sealed.pop(None, None)))
    calls = message.tool_calls or []
    if message.content or not (calls or message.refusal):
        parts = [text_part(message.content or "", tokens_of(choice.logprobs))]
        items.append(said(names.next("msg"), parts, status))
    if message.refusal:
        items.append(said(names.next("msg"), [refusal_part(message.refusal)], status))
    for number, each in enumerate(calls):
        if number in sealed:
            items.append(reasoning(names.next("rs"), "", sealed[number]))
        function = each.function
        items.append(
            call(names.next("fc"), each.id, function.name, function.arguments, status=status)
        )
    return items


class Names:
    """Identifiers of an answer's items, by which their events belong together."""

    __slots__ = ("_count", "_stem")

    def __init__(self, identity: Identity) -> None:
        self._stem = identity.id.partition("_")[2]
        self._count = 0

    def next(self, prefix: str) -> str:
        """Return the identifier of the next item."""
        self._count += 1
        return f"{prefix}_{self._stem}{self._count:04d}"


def reasoning(name: str, thought: Words, sealed: str | None = None) -> Json:
    """Return an item of what the model thought, and of the state that comes back with it."""
    summary = [summary_part(thought)] if thought else []
    item: Json = {"id": name, "type": "reasoning", "summary": summary}
    return item if sealed is None else {**item, "encrypted_content": sealed}


def summary_part(thought: Words) -> Json:
    """Return a part of an item of reasoning."""
    return {"type": "summary_text", "text": thought}


def said(name: str, parts: Sequence[Json], status: str) -> Json:
    """Return an item of what the model said."""
    return {
        "id": name,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": parts,
    }


def text_part(text: Words, tokens: Sequence[Json] | Raw = ()) -> Json:
    """Return a part of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": tokens}


def refusal_part(refusal: Words) -> Json:
    """Return a part of a message that refuses."""
    return {"type": "refusal", "refusal": refusal}


def call(name: str, identifier: str, function: str, arguments: Words, *, status: str) -> Json:
    """Return an item of what the model calls, by the name that the program knows."""
    namespace, own = apart(function)
    item = {
        "id": name,
        "type": "function_call",
        "status": status,
        "call_id": identifier,
        "name": own,
        "arguments": arguments,
    }
    return item if namespace is None else {**item, "namespace": namespace}


def tokens_of(logprobs: Logprobs | None) -> list[Json]:
    """Return how likely the tokens of a text were."""
    return [
        {
            "token": token.token,
            "logprob": token.logprob,
            "bytes": token.bytes or [],
            "top_logprobs": [
                {"token": top.token, "logprob": top.logprob, "bytes": top.bytes or []}
                for top in token.top_logprobs
            ],
        }
        for token in (logprobs.content if logprobs else None) or ()
    ]

"""Answers that are not quite OpenAI's, put into its shape: nobody fails for what says nothing.

Read here is what msgspec did not take as it is, and what has members of other names. So an answer
in the usual shape costs nothing for it.
"""

from typing import Any, TypeGuard

import msgspec

from enclave_server.chat.dialects.openai_chat.calls import UNNUMBERED

Json = dict[str, Any]

# Of an answer's list of parts.
_TEXTS = ("text", "output_text")
_THOUGHTS = ("thinking", "reasoning")

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens")


def usual(answer: Json) -> Json:
    """Return an answer, or an event of one, with the members that are read, in the usual shape."""
    return {
        "choices": [_choice(choice, place) for place, choice in enumerate(_choices(answer))],
        "usage": _usage(answer.get("usage")),
        "x_groq": {"usage": _usage(_object(answer.get("x_groq")).get("usage"))},
    }


def messages(answer: Json) -> list[Json]:
    """Return the message of each choice, or what is added to it; a filter may have left none."""
    return [_message(choice) for choice in _choices(answer)]


def _choices(answer: Json) -> list[Json]:
    choices = answer.get("choices")
    return [_object(choice) for choice in choices] if isinstance(choices, list) else []


def _message(choice: Json) -> Json:
    return _object(choice.get("message", choice.get("delta")))


def _choice(choice: Json, position: int) -> Json:
    index, end = choice.get("index"), _text(choice.get("finish_reason"))
    plain: Json = {
        "index": index if isinstance(index, int) else position,
        "logprobs": choice.get("logprobs"),
        "finish_reason": end,
    }
    # Nothing at all is no answer; but a filter may have left nothing else than the end.
    if end or not {"message", "delta", "text"}.isdisjoint(choice):
        said = _said(choice)
        plain |= {"message": said, "delta": said, "text": _or_empty(choice.get("text"))}
    return plain


def _said(choice: Json) -> Json:
    """Return what is read of the message of a choice."""
    said = _message(choice)
    text, thought = _content(said.get("content"))
    calls = said.get("tool_calls")
    plain = {
        "role": _text(said.get("role")),
        "content": text,
        "refusal": said.get("refusal"),
        "reasoning_content": _reasoning(said) or thought,
        "tool_calls": [_call(_object(call)) for call in calls] if isinstance(calls, list) else None,
    }
    return {name: value for name, value in plain.items() if value is not None}


def _reasoning(said: Json) -> str | None:
    return _text(said.get("reasoning_content")) or _text(said.get("reasoning"))


def _content(content: object) -> tuple[object, str | None]:
    """Return what is said and what is thought in a content, which may be a list of parts."""
    if not isinstance(content, list):
        return content, None
    parts = [_object(part) for part in content]
    said = [_or_empty(part.get("text")) for part in parts if part.get("type") in _TEXTS]
    thought = [_thought(part) for part in parts if part.get("type") in _THOUGHTS]
    return "".join(said) if said else None, "".join(thought) or None


def _thought(part: Json) -> str:
    thinking = part.get("thinking", part.get("text"))
    if isinstance(thinking, str):
        return thinking
    pieces = thinking if isinstance(thinking, list) else []
    return "".join(_or_empty(_object(piece).get("text")) for piece in pieces)


def _call(call: Json) -> Json:
    index, function = call.get("index"), _object(call.get("function"))
    return {
        "index": index if isinstance(index, int) else UNNUMBERED,
        "id": _or_empty(call.get("id")),
        "type": "function",
        "function": {
            "name": _or_empty(function.get("name")),
            "arguments": _arguments(function.get("arguments")),
        },
    }


def _arguments(arguments: object) -> str:
    """Return arguments as text, which some servers give as the object that it says."""
    if arguments is None or isinstance(arguments, str):
        return arguments or ""
    return msgspec.json.encode(arguments).decode()


def _usage(usage: object) -> Json | None:
    counted = _object(usage)
    counts: Json = {name: int(counted[name]) for name in _COUNTS if _is_count(counted.get(name))}
    if not counts:
        return None
    thought = _object(counted.get("completion_tokens_details")).get("reasoning_tokens")
    if _is_count(thought):
        counts["completion_tokens_details"] = {"reasoning_tokens": int(thought)}
    return {"prompt_tokens": 0, **counts}


def _is_count(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and 0 <= value < 1 << 53


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _or_empty(value: object) -> str:
    return value if isinstance(value, str) else ""


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}

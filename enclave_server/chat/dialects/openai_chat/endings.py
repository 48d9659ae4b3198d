"""Why an answer ended: the words of many servers, and the four that OpenAI's programs know."""

from enclave_server.chat.errors import Failure, UpstreamError

_WORDS = {
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "content_filtered": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
    "spii": "content_filter",
}

_FAILURES = {
    "error": Failure.BROKEN,
    "abort": Failure.BROKEN,
    "network_error": Failure.BROKEN,
    "insufficient_system_resource": Failure.BUSY,
    "malformed_function_call": Failure.TOOL_USE_FAILED,
    "malformed_tool_use": Failure.TOOL_USE_FAILED,
    "unexpected_tool_call": Failure.TOOL_USE_FAILED,
    "too_many_tool_calls": Failure.TOOL_USE_FAILED,
}


def meaning(word: str, *, has_calls: bool) -> str | None:
    """Return the end that `word` means, None if nobody knows it; raises UpstreamError.

    Some servers say `stop` where the answer ends with calls.
    """
    plain = word.lower()
    if plain in _FAILURES:
        raise UpstreamError(_FAILURES[plain])
    end = _WORDS.get(plain)
    if end == "stop" and has_calls:
        return "tool_calls"
    if end == "tool_calls" and not has_calls:
        return "stop"
    return end

"""Whole answers of the Responses API."""

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import (
    Answer,
    Call,
    Choice,
    Function,
    PartState,
    Reply,
)
from enclave_server.chat.dialects.openai_responses.faults import fault_in_stream
from enclave_server.chat.dialects.openai_responses.keepsakes import (
    Called,
    Entry,
    Reasoning,
    Said,
    SummaryText,
    keep,
)
from enclave_server.chat.dialects.openai_responses.shapes import (
    Content,
    Item,
    Response,
    is_error,
    logprobs_of,
    usage_of,
)
from enclave_server.chat.errors import Failure, UpstreamError

_DECODER = msgspec.json.Decoder(Response)

# Why an answer that is not complete ends.
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}

BETWEEN_PARAGRAPHS = "\n\n"
"""What stands between the parts of a summary, each of which has a heading."""


def read_answer(body: bytes) -> Answer:
    """Return a whole answer; raises UpstreamError."""
    try:
        response = _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    if response.output is None and not is_error(response.error):
        raise UpstreamError(Failure.BROKEN)
    return answer_of(response)


def answer_of(response: Response) -> Answer:
    """Return what a response that has ended says; raises UpstreamError if it failed."""
    items = response.output or []
    reply = reply_of(items)
    reason = finish_reason(response, calls=bool(reply.tool_calls))
    tokens = [token for item in items for part in item.parts for token in part.logprobs or ()]
    choice = Choice(0, reply, logprobs_of(tokens), reason)
    state = keep([entry for item in items if (entry := entry_of(item)) is not None])
    states = () if state is None else (PartState(0, state),)
    return Answer([choice], usage_of(response.usage), states)


def reply_of(items: list[Item]) -> Reply:
    """Return what `items` say together."""
    parts = [part for item in items if item.type == "message" for part in item.parts]
    calls = [call_of(item) for item in items if item.type == "function_call"]
    text = "".join(part.text or "" for part in parts)
    thought = BETWEEN_PARAGRAPHS.join(filter(None, map(thought_in, items)))
    return Reply(
        content=text or (None if calls else ""),
        refusal="".join(part.refusal or "" for part in parts) or None,
        tool_calls=calls or UNSET,
        reasoning_content=thought or UNSET,
    )


def call_of(item: Item) -> Call:
    """Return the call that an item is; raises UpstreamError for one without a name."""
    if not item.name:
        raise UpstreamError(Failure.BROKEN)
    function = Function(item.name, item.arguments or "{}")
    return Call(item.call_id or item.id or "", function)


def thought_in(item: Item) -> str:
    """Return what an item of reasoning says: itself where it is shown, else its summary."""
    if item.type != "reasoning":
        return ""
    return _joined(item.parts, "") or _joined(item.summary or [], BETWEEN_PARAGRAPHS)


def entry_of(item: Item) -> Entry | None:
    """Return what is kept of an item for the provider to have back, be it nothing."""
    match item:
        case Item(type="reasoning", id=str(name), encrypted_content=str(sealed)) if sealed:
            summary = [SummaryText(part.text) for part in item.summary or () if part.text]
            return Reasoning(name, sealed, summary)
        case Item(type="message", phase=phase):
            return Said(phase)
        case Item(type="function_call"):
            return Called()
    return None


def finish_reason(response: Response, *, calls: bool) -> str:
    """Return why an answer ended; raises UpstreamError if it failed, or has not ended."""
    if is_error(response.error):
        raise fault_in_stream(bytes(response.error))
    match response.status:
        case "completed" | None:
            return "tool_calls" if calls else "stop"
        case "incomplete":
            details = response.incomplete_details
            reason = _INCOMPLETE.get(details.reason or "") if details else None
            if reason is not None:
                return reason
    raise UpstreamError(Failure.BROKEN)


def _joined(parts: list[Content], between: str) -> str:
    return between.join(part.text for part in parts if part.text)

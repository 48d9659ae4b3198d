"""How much the model is to think: `reasoning_effort` in either of Anthropic's words."""

from collections.abc import Sequence
from typing import Any

from enclave_server.chat.conversation import Conversation, Effort, Message
from enclave_server.chat.dialects.refusals import unsupported_value
from enclave_server.chat.errors import invalid
from enclave_server.chat.profiles import Profile

Json = dict[str, Any]

EFFORTS = ("low", "medium", "high", "xhigh", "max")

# Of older models, in tokens, which count towards the limit of the answer.
BUDGETS = {"low": 1024, "medium": 4096, "high": 16384, "xhigh": 32768}


def thinking_of(question: Conversation, limit: int, profile: Profile) -> Json:
    """Return the members that say how much to think about `question`; raises ChatError."""
    members = write_thinking(question.reasoning_effort, limit, profile)
    if members.get("thinking", {}).get("type") == "enabled":
        _require_thoughts(question.messages)
    return members


def _require_thoughts(messages: list[Message]) -> None:
    """Refuse results of calls whose thoughts did not come back: older models refuse them."""
    asked = next((message for message in reversed(messages) if message.calls), None)
    if messages[-1].role == "tool" and asked is not None and asked.state is None:
        advice = "Send back the 'extra_content' of the message with the call, or ask with 'none'."
        raise unsupported_value("reasoning_effort", advice)


def write_thinking(effort: Effort | None, limit: int, profile: Profile) -> Json:
    """Return the members that say `effort`; raises ChatError for a level that the model lacks."""
    if effort is None:
        return {}
    levels = EFFORTS if profile.thinking == "adaptive" else tuple(BUDGETS)
    check_level(effort, ("none", *levels), profile)
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if profile.thinking == "adaptive":
        shown = {"type": "adaptive", "display": "summarized"}
        return {"thinking": shown, "output_config": {"effort": effort}}
    budget = BUDGETS[effort]
    if budget >= limit:
        param = "max_completion_tokens"
        sentence = f"'{param}' has to be above {budget}, the tokens to think with at this effort."
        raise invalid(sentence, param, "invalid_value")
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def check_level(effort: Effort, levels: Sequence[str], profile: Profile) -> None:
    """Raise ChatError for a level that is not among `levels`, or not among the profile's."""
    possible = [level for level in levels if profile.efforts is None or level in profile.efforts]
    if effort not in possible:
        raise unsupported_value("reasoning_effort", f"It takes {', '.join(possible)}.")

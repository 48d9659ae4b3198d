"""What the generations of Gemini do not have in common: how they are told to think."""

import re
from typing import Any

from enclave_server.chat.dialects.refusals import unsupported_value
from enclave_server.chat.models import Model

Json = dict[str, Any]

# A name without a number, such as one that means the latest, is taken for the newest.
_NAME = re.compile(r"(?:.*/)?gemini-(\d{1,2})(?:\.(\d{1,2}))?(?![\d.])")

_FIRST_THINKING = (2, 5)
_FIRST_WITH_LEVELS = (3, 0)

# How many tokens may be thought, where a number says it.
BUDGETS = {"none": 0, "minimal": 512, "low": 4096, "medium": 16384, "high": 24576}
LEVELS = {level: level.upper() for level in ("minimal", "low", "medium", "high", "xhigh")}


def generation_of(model: Model) -> tuple[int, int] | None:
    """Return the generation that the name of `model` tells, or None."""
    found = _NAME.match(model.upstream_name)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def demands_signatures(model: Model) -> bool:
    """Whether a call that comes back must have its thought's signature, or a word for it."""
    generation = generation_of(model)
    return generation is None or generation >= _FIRST_WITH_LEVELS


def thinking(effort: str | None, model: Model) -> Json | None:
    """Return how much is to be thought, and that it be told; None for a model that does not think.

    Raises ChatError 400 for an effort that the model does not know.
    """
    generation = generation_of(model)
    if not model.reasoning or (generation is not None and generation < _FIRST_THINKING):
        return None
    by_level = generation is None or generation >= _FIRST_WITH_LEVELS
    known: Json = LEVELS if by_level else BUDGETS
    if model.profile.efforts is not None:
        known = {name: known[name] for name in model.profile.efforts if name in known}
    if effort is None:
        return {"includeThoughts": True}
    if effort not in known:
        raise unsupported_value("reasoning_effort", f"It takes {', '.join(known)}.")
    if by_level:
        return {"includeThoughts": True, "thinkingLevel": known[effort]}
    return {"includeThoughts": effort != "none", "thinkingBudget": known[effort]}

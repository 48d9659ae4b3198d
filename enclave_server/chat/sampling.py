"""Fields of sampling and thinking that OpenAI's API does not have, and other servers know.

One passes, as it is, to a model whose table in the configuration or whose upstream's profile lists
it; from others it is refused. Each has a type and a range.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

SamplingName = Literal[
    "chat_template_kwargs",
    "enable_thinking",
    "include_reasoning",
    "min_p",
    "min_tokens",
    "repeat_penalty",
    "repetition_penalty",
    "stop_token_ids",
    "thinking",
    "thinking_budget",
    "top_a",
    "top_k",
    "typical_p",
]

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class TemplateSwitches(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """What a model's chat template may be told: whether to think."""

    enable_thinking: bool | None = None
    thinking: bool | None = None


class Thinking(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """Whether to think."""

    type: Literal["enabled", "disabled"]


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The fields, each absent by default."""

    chat_template_kwargs: TemplateSwitches | None = None
    enable_thinking: bool | None = None
    include_reasoning: bool | None = None
    min_p: Share | None = None
    min_tokens: Count | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=2)] | None = None
    stop_token_ids: Annotated[list[Count], Meta(max_length=16)] | None = None
    thinking: Thinking | None = None
    thinking_budget: Count | None = None
    top_a: Share | None = None
    top_k: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    typical_p: Share | None = None


NAMES = frozenset(Sampling.__struct_fields__)


def taken_from(fields: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of sampling among `fields`, and the others."""
    if NAMES.isdisjoint(fields):
        return {}, fields
    taken = {name: value for name, value in fields.items() if name in NAMES}
    return taken, {name: value for name, value in fields.items() if name not in NAMES}


def plain(sampling: Sampling) -> dict[str, Any] | None:
    """Return what `sampling` says, in one order; None if it says nothing."""
    said: dict[str, Any] = msgspec.to_builtins(sampling)
    return said or None

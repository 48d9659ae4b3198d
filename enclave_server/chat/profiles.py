"""What differs between providers that speak one dialect: set by the gateway, asked by no client.

A profile belongs to an upstream. Where a configuration names none, a known provider's host name
does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Range = Literal["none", "one", "two"]
"""How far `temperature` goes: it cannot be set at all, or from 0 to that number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider wants and does not want to hear, and what is never asked of it.

    `retention` are members of every request, which keep it from keeping what it reads.
    `output_limit` is what is asked for where the client names no limit and the provider wants one.
    `efforts` are the levels of reasoning that it knows; None: those of the dialect.
    """

    retention: Mapping[str, Any] = field(default_factory=dict)
    # A fresh secret with each request, so that no two share what a server has cached of a prompt.
    cache_salt: bool = False
    temperature: Range = "two"
    output_limit: int | None = None
    efforts: tuple[str, ...] | None = None
    # In which of Anthropic's words it is told how much to think: an effort, or a budget of tokens.
    thinking: Literal["adaptive", "budget"] = "adaptive"
    # Whoever fetches an image tells its server that, and when, somebody showed it.
    remote_images: bool = False
    # Whether the reasoning of the turn that tools are called in comes back, and by what name.
    reasoning_returns: bool = False
    reasoning_name: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    # Whether instructions may stand between messages, or before all of them alone.
    later_instructions: bool = True
    # Whether an answer of the assistant may stand last, for the model to go on from.
    prefill: bool = True
    # Whether the answer is asked for as a stream though its client wants it whole.
    streams_always: bool = False
    # Members of the dialect that are said in another word, or that the provider refuses.
    renamed: Mapping[str, str] = field(default_factory=dict)


PLAIN = Profile()
OPENAI = Profile(retention={"store": False})

PROFILES: Mapping[str, Profile] = {
    "plain": PLAIN,
    "openai": OPENAI,
}
"""The profiles by the names that configurations use."""


def find_profile(name: str) -> Profile:
    """Return the profile of that name; raises ValueError, which lists those there are."""
    profile = PROFILES.get(name)
    if profile is None:
        raise ValueError(f"there is no profile {name!r}, only {', '.join(sorted(PROFILES))}")
    return profile

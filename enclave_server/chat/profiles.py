"""What differs between providers that speak one dialect: set by the gateway, asked by no client.

A profile belongs to an upstream. Where a configuration names none, a known provider's host name
does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Range = Literal["none", "one", "two"]
"""How far `temperature` goes: it cannot be set at all, or from 0 to that number."""

Thinking = Literal["adaptive", "budget"]
"""Whether a model of Anthropic's is told an effort, or how many tokens it may think with."""

LaterInstructions = Literal["system", "user", "none"]
"""Who says instructions that stand between messages: the system, or the user for it; or nobody."""

NOTHING: Mapping[str, Any] = {}

# One name of the limit leaves, whichever of the two a program has for it.
LIMIT_AS_NOW = {"max_tokens": "max_completion_tokens"}
LIMIT_AS_BEFORE = {"max_completion_tokens": "max_tokens"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider wants and does not want to hear, and what is never asked of it.

    `retention` are members of every request, which keep it from keeping what it reads.
    `output_limit` is what is asked for where the client names no limit and the provider wants one.
    `efforts` are the levels of reasoning that it knows; None: those of the dialect. `sampling` are
    the further fields that it knows.
    """

    retention: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    # A fresh secret with each request, so that no two share what a server has cached of a prompt.
    cache_salt: bool = False
    # Members that have nothing of a prompt cached; sent for the models that are configured so.
    uncached: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    temperature: Range = "two"
    output_limit: int | None = None
    efforts: tuple[str, ...] | None = None
    thinking: Thinking = "adaptive"
    sampling: frozenset[str] = frozenset()
    # Whoever fetches an image tells its server that, and when, somebody showed it.
    remote_images: bool = False
    # Whether the reasoning of the turn that tools are called in comes back, and by what name.
    reasoning_returns: bool = False
    reasoning_name: Literal["reasoning_content", "reasoning"] = "reasoning_content"
    # Whether a message's `reasoning_details` come back, and a call's signature of its thought.
    details_return: bool = False
    signatures_return: bool = False
    later_instructions: LaterInstructions = "system"
    # Whether an answer of the assistant may stand last, for the model to go on from.
    prefill: bool = True
    # Whether messages of one role that follow one another have to be one message.
    joins_roles: bool = False
    # Whether a stream has to be asked for its count of tokens, or tells it anyway.
    counts_when_asked: bool = True
    # Whether the answer is asked for as a stream though its client wants it whole.
    streams_always: bool = False
    # Members that are said in another word there. The older name of the limit is known to all
    # servers but some of OpenAI's models.
    renamed: Mapping[str, str] = field(default_factory=lambda: LIMIT_AS_BEFORE)


LLAMA_SAMPLING = frozenset({"top_k", "min_p", "repetition_penalty", "chat_template_kwargs"})

PLAIN = Profile()
OPENAI = Profile(
    retention={"store": False},
    # Without a breakpoint, none of which is ever sent, nothing is cached.
    uncached={"prompt_cache_options": {"mode": "explicit"}},
    streams_always=True,
    renamed=LIMIT_AS_NOW,
)
VLLM = Profile(cache_salt=True, sampling=LLAMA_SAMPLING)

PROFILES: Mapping[str, Profile] = {
    # Says nothing but what the client says: what every server of a dialect takes.
    "plain": PLAIN,
    "openai": OPENAI,
    # The same API.
    "azure": Profile(retention={"store": False}, streams_always=True, renamed=LIMIT_AS_NOW),
    "xai": Profile(retention={"store": False}, streams_always=True, renamed=LIMIT_AS_NOW),
    "bedrock": Profile(sampling=frozenset({"top_k"}), renamed=LIMIT_AS_NOW),
    "anthropic": Profile(
        temperature="one",
        output_limit=32_000,
        sampling=frozenset({"top_k"}),
        streams_always=True,
    ),
    "gemini": Profile(
        sampling=frozenset({"top_k"}), later_instructions="user", streams_always=True
    ),
    # Google's endpoint that is compatible with OpenAI's.
    "google": Profile(signatures_return=True, renamed=LIMIT_AS_NOW),
    # Refuses what it does not know.
    "mistral": Profile(
        counts_when_asked=False,
        joins_roles=True,
        renamed={**LIMIT_AS_BEFORE, "seed": "random_seed"},
    ),
    "deepseek": Profile(reasoning_returns=True),
    "groq": Profile(reasoning_name="reasoning", renamed=LIMIT_AS_NOW),
    "openrouter": Profile(
        retention={"provider": {"zdr": True, "data_collection": "deny"}},
        details_return=True,
        sampling=frozenset({"top_k", "min_p", "repetition_penalty"}),
    ),
    "together": Profile(sampling=frozenset({"top_k", "min_p", "repetition_penalty"})),
    "moonshot": Profile(reasoning_returns=True),
    "zai": Profile(reasoning_returns=True),
    "vllm": VLLM,
    "sglang": VLLM,
}
"""The profiles by the names that configurations use."""

# Which profile a host name means; what begins with a dot is the end of a name.
_BY_HOST = (
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".services.ai.azure.com", "azure"),
    (".cognitiveservices.azure.com", "azure"),
    ("api.x.ai", "xai"),
    (".api.x.ai", "xai"),
    (".amazonaws.com", "bedrock"),
    (".api.aws", "bedrock"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gemini"),
    ("aiplatform.googleapis.com", "gemini"),
    ("-aiplatform.googleapis.com", "gemini"),
    ("api.mistral.ai", "mistral"),
    ("codestral.mistral.ai", "mistral"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("openrouter.ai", "openrouter"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.moonshot.ai", "moonshot"),
    ("api.moonshot.cn", "moonshot"),
    ("api.z.ai", "zai"),
    ("open.bigmodel.cn", "zai"),
)

# Where a host speaks another dialect than its own.
_BY_DIALECT = {
    ("gemini", "openai-chat"): "google",
    ("gemini", "anthropic"): "anthropic",
    ("gemini", "anthropic-vertex"): "anthropic",
    ("bedrock", "anthropic"): "anthropic",
    ("bedrock", "anthropic-bedrock"): "anthropic",
}


def find_profile(name: str) -> Profile:
    """Return the profile of that name; raises ValueError, which lists those there are."""
    profile = PROFILES.get(name)
    if profile is None:
        raise ValueError(f"there is no profile {name!r}, only {', '.join(sorted(PROFILES))}")
    return profile


def profile_of_host(host_name: str | None, dialect: str) -> str:
    """Return the name of the profile for a provider's host that is asked in `dialect`."""
    host = (host_name or "").lower()
    for known, name in _BY_HOST:
        if host == known or (known[0] in ".-" and host.endswith(known)):
            return _BY_DIALECT.get((name, dialect), name)
    return "plain"

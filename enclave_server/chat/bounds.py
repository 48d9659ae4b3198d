"""What one request may ask of a model; each can be configured for each model."""

from dataclasses import dataclass, fields

KIB = 1024
MIB = 1024 * KIB

MOST_LOGIT_BIAS = 4_096
"""Of which more are refused before any is looked at, whatever the model: each costs 2 µs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Counts and sizes in octets that a request may reach; the defaults are for providers.

    They are above what people are known to send, and below what would harm a gateway.
    """

    # What the model reads, without images: as much as a body holds, since a provider tokenises at
    # its own cost, and refuses.
    text_bytes: int = 20 * MIB
    # Messages, parts of their content, and calls in them.
    messages: int = 16_384
    # Prompts times `n`, or times `best_of` where that is more.
    choices: int = 128
    tools: int = 128
    images: int = 128
    # JSON values in all schemas of a request, and how deep they nest.
    schema_nodes: int = 32_768
    schema_depth: int = 64
    # OpenAI's own API takes 300.
    logit_bias: int = 1_024
    # All sequences together.
    stop_bytes: int = 4 * KIB
    # Rules of the grammar that a schema becomes; 0: none is made of it here.
    grammar_rules: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no count."""
        for field in fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"limit {field.name} must not be negative")
        if self.logit_bias > MOST_LOGIT_BIAS:
            raise ValueError(f"limit logit_bias must be at most {MOST_LOGIT_BIAS}")


PROVIDER = Bounds()

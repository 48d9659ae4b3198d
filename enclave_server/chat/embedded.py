"""The model of the embedded engine, which is an upstream with limits of its own."""

from enclave_server.addresses import UnixAddress
from enclave_server.chat.bounds import KIB, Bounds
from enclave_server.chat.models import Model
from enclave_server.chat.upstream.endpoint import Upstream

# The engine answers two at a time and queues the rest without a limit of its own.
CONCURRENCY = 32


# Of the engine's two slots, each; an answer takes of it what its question leaves.
CONTEXT_LENGTH = 2048

# What llama.cpp knows beyond OpenAI's API, by its own names.
SAMPLING = frozenset({"min_p", "repeat_penalty", "top_k", "typical_p"})

# What the engine's context and its grammars can take; nothing of it takes the engine a second.
EMBEDDED = Bounds(
    # 2,048 tokens of 32 octets each: words have four on average.
    text_bytes=64 * KIB,
    messages=256,
    choices=2,
    tools=0,
    images=0,
    schema_nodes=1_024,
    schema_depth=16,
    logit_bias=300,
    stop_bytes=1 * KIB,
    grammar_rules=128,
)


def embedded_model(
    name: str,
    socket_path: str,
    system_prompt: str | None,
    bounds: Bounds = EMBEDDED,
    concurrency: int = CONCURRENCY,
) -> Model:
    """Return the model that the embedded engine serves on `socket_path`.

    `concurrency` is how many exchanges with it one worker may have.
    """
    upstream = Upstream(
        "embedded",
        UnixAddress(socket_path),
        concurrency=concurrency,
        # Each connection occupies a thread of the engine for as long as it is kept.
        idle_connections=0,
        tells_its_end=True,
    )
    return Model(
        name,
        upstream,
        upstream_name=name,
        tools=False,
        images=False,
        files=False,
        reasoning=False,
        completion_options=False,
        context_length=CONTEXT_LENGTH,
        output_limit=CONTEXT_LENGTH,
        sampling=SAMPLING,
        bounds=bounds,
        system_prompt=system_prompt,
    )

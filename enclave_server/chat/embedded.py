"""The model of the embedded engine, which is an upstream with limits of its own."""

from enclave_server.addresses import UnixAddress
from enclave_server.chat.models import Model
from enclave_server.chat.upstream.endpoint import Upstream

# The engine answers two at a time and queues the rest without a limit of its own.
CONCURRENCY = 32


def embedded_model(name: str, socket_path: str, system_prompt: str | None) -> Model:
    """Return the model that the embedded engine serves on `socket_path`."""
    upstream = Upstream(
        "embedded",
        UnixAddress(socket_path),
        concurrency=CONCURRENCY,
        # Each connection occupies a thread of the engine for as long as it is kept.
        idle_connections=0,
    )
    return Model(
        name,
        upstream,
        upstream_name=name,
        tools=False,
        images=False,
        max_choices=2,
        system_prompt=system_prompt,
    )

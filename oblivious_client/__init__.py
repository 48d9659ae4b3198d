"""The client: verify, seal, send, open.

with ObliviousClient("https://relay.example") as client:
    print(client.chat("What is the capital of France?").text)

Each of these names is loaded when it is first used: the command line needs few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oblivious_client.answers import Answer, Embeddings
    from oblivious_client.cache import EvidenceCache
    from oblivious_client.client import (
        AsyncChatStream,
        AsyncObliviousClient,
        ChatStream,
        ObliviousClient,
    )
    from oblivious_client.errors import (
        AnswerTruncated,
        AnswerUnproven,
        AnswerUnreadable,
        ClientError,
        ConnectionLost,
        EvidenceRefused,
        ExchangeError,
        NoAnswer,
        NoConnection,
        OuterRefusal,
        ServiceError,
        UsageError,
    )
    from oblivious_client.exits import Exit
    from oblivious_client.policy import Policy, Simulated, read_releases, read_root
    from oblivious_client.route import Route
    from oblivious_client.sealing import Framing
    from oblivious_client.transport import AsyncObliviousTransport, ObliviousTransport

__all__ = [
    "Answer",
    "AnswerTruncated",
    "AnswerUnproven",
    "AnswerUnreadable",
    "AsyncChatStream",
    "AsyncObliviousClient",
    "AsyncObliviousTransport",
    "ChatStream",
    "ClientError",
    "ConnectionLost",
    "Embeddings",
    "EvidenceCache",
    "EvidenceRefused",
    "ExchangeError",
    "Exit",
    "Framing",
    "NoAnswer",
    "NoConnection",
    "ObliviousClient",
    "ObliviousTransport",
    "OuterRefusal",
    "Policy",
    "Route",
    "ServiceError",
    "Simulated",
    "UsageError",
    "read_releases",
    "read_root",
]

_WHERE = {
    "Answer": "answers",
    "AnswerTruncated": "errors",
    "AnswerUnproven": "errors",
    "AnswerUnreadable": "errors",
    "AsyncChatStream": "client",
    "AsyncObliviousClient": "client",
    "AsyncObliviousTransport": "transport",
    "ChatStream": "client",
    "ClientError": "errors",
    "ConnectionLost": "errors",
    "Embeddings": "answers",
    "EvidenceCache": "cache",
    "EvidenceRefused": "errors",
    "ExchangeError": "errors",
    "Exit": "exits",
    "Framing": "sealing",
    "NoAnswer": "errors",
    "NoConnection": "errors",
    "ObliviousClient": "client",
    "ObliviousTransport": "transport",
    "OuterRefusal": "errors",
    "Policy": "policy",
    "Route": "route",
    "ServiceError": "errors",
    "Simulated": "policy",
    "UsageError": "errors",
    "read_releases": "policy",
    "read_root": "policy",
}


def __getattr__(name: str) -> Any:
    """Return what is offered under a name (PEP 562)."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the names that are offered, loaded or not."""
    return sorted({*globals(), *__all__})

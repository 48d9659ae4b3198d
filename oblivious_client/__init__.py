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
        IssuerRefused,
        IssuerSilent,
        NoAnswer,
        NoConnection,
        NoToken,
        OuterRefusal,
        ServiceError,
        TokenRefused,
        UsageError,
        WalletUnusable,
    )
    from oblivious_client.exits import Exit
    from oblivious_client.policy import Policy, Simulated, read_releases, read_root
    from oblivious_client.releases.keys_seen import Mirrors
    from oblivious_client.releases.memory import ReleaseMemory, memory_for
    from oblivious_client.releases.source import Releases
    from oblivious_client.releases.trust import Quorum, Trust
    from oblivious_client.releases.trust_file import packaged_trust, read_trust
    from oblivious_client.route import Route
    from oblivious_client.sealing import Framing
    from oblivious_client.transport import AsyncObliviousTransport, ObliviousTransport
    from oblivious_client.wallet import Wallet

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
    "IssuerRefused",
    "IssuerSilent",
    "Mirrors",
    "NoAnswer",
    "NoConnection",
    "NoToken",
    "ObliviousClient",
    "ObliviousTransport",
    "OuterRefusal",
    "Policy",
    "Quorum",
    "ReleaseMemory",
    "Releases",
    "Route",
    "ServiceError",
    "Simulated",
    "TokenRefused",
    "Trust",
    "UsageError",
    "Wallet",
    "WalletUnusable",
    "memory_for",
    "packaged_trust",
    "read_releases",
    "read_root",
    "read_trust",
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
    "IssuerRefused": "errors",
    "IssuerSilent": "errors",
    "Mirrors": "releases.keys_seen",
    "NoAnswer": "errors",
    "NoConnection": "errors",
    "NoToken": "errors",
    "ObliviousClient": "client",
    "ObliviousTransport": "transport",
    "OuterRefusal": "errors",
    "Policy": "policy",
    "Quorum": "releases.trust",
    "ReleaseMemory": "releases.memory",
    "Releases": "releases.source",
    "Route": "route",
    "ServiceError": "errors",
    "Simulated": "policy",
    "TokenRefused": "errors",
    "Trust": "releases.trust",
    "UsageError": "errors",
    "Wallet": "wallet",
    "WalletUnusable": "errors",
    "memory_for": "releases.memory",
    "packaged_trust": "releases.trust_file",
    "read_releases": "policy",
    "read_root": "policy",
    "read_trust": "releases.trust_file",
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

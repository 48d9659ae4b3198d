"""The client: verify, seal, send, open.

with ObliviousClient("https://relay.example") as client:
    print(client.chat("What is the capital of France?").text)
"""

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
    "NoAnswer",
    "NoConnection",
    "NoToken",
    "ObliviousClient",
    "ObliviousTransport",
    "OuterRefusal",
    "Policy",
    "Route",
    "ServiceError",
    "Simulated",
    "TokenRefused",
    "UsageError",
    "Wallet",
    "WalletUnusable",
    "read_releases",
    "read_root",
]

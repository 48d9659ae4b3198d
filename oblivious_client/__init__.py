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
    NoAnswer,
    NoConnection,
    OuterRefusal,
    ServiceError,
    UsageError,
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
    "Mirrors",
    "NoAnswer",
    "NoConnection",
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
    "Trust",
    "UsageError",
    "memory_for",
    "packaged_trust",
    "read_releases",
    "read_root",
    "read_trust",
]

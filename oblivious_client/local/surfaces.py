"""The resources of the local endpoint: what a program may ask, and how its answer is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from oblivious_client.answers import check_embeddings, check_signature, parse_object
from oblivious_client.blocks import answer_in
from oblivious_client.local.passing import PassedBlocks, PassedChat, PassedItems, Passing
from protocol.evidence import VerifiedEvidence
from protocol.signature import SignedAnswer

GET = ("GET", "HEAD")
POST = ("POST",)

_ONE_MODEL = "/v1/models/"


@dataclass(frozen=True, slots=True)
class Asked:
    """How the answer of a model is checked: read whole, or passed on in a stream."""

    passing: Callable[[], Passing] | None
    read: Callable[[bytes], dict[str, Any]] = parse_object
    check: Callable[[VerifiedEvidence, bytes, Mapping[str, Any]], SignedAnswer] = check_signature


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource: its methods, whether it is asked of the gateway, and of a model in there."""

    path: str
    methods: tuple[str, ...]
    is_sealed: bool = True
    asked: Asked | None = None

    @property
    def name(self) -> str:
        """The path as it may be logged: without what a program wrote into it."""
        return f"{_ONE_MODEL}*" if self.path.startswith(_ONE_MODEL) else self.path


PAGE, EVIDENCE, HEALTH, STOP = "/", "/evidence", "/health", "/stop"

_CHAT = Asked(PassedChat)
_RESOURCES = (
    Resource("/v1/chat/completions", POST, asked=_CHAT),
    Resource("/v1/completions", POST, asked=_CHAT),
    Resource("/v1/responses", POST, asked=Asked(PassedItems)),
    Resource("/v1/messages", POST, asked=Asked(PassedBlocks, answer_in)),
    Resource("/v1/messages/count_tokens", POST),
    Resource("/v1/embeddings", POST, asked=Asked(None, check=check_embeddings)),
    Resource("/v1/models", GET),
    Resource(PAGE, GET, is_sealed=False),
    Resource(EVIDENCE, GET, is_sealed=False),
    Resource(HEALTH, GET, is_sealed=False),
    Resource(STOP, POST, is_sealed=False),
)
_BY_PATH = {each.path: each for each in _RESOURCES}


def find(path: str) -> Resource | None:
    """Return the resource at a path, with a slash at its end or without, or None.

    What is sealed has none, so that no enclave learns which base address a program was given.
    """
    bare = path.rstrip("/") or PAGE
    if bare.startswith(_ONE_MODEL):
        return Resource(bare, GET)
    return _BY_PATH.get(bare)

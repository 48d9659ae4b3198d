"""Embeddings of OpenAI's API, as many others serve them too."""

from typing import Any

import msgspec

from enclave_server.chat.dialects.bearer import account_fields
from enclave_server.chat.dialects.cache_salt import fresh_salt
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.openai_chat.faults import fault_in_stream
from enclave_server.chat.dialects.openai_chat.requests import kept_from_keeping
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Model
from protocol.embedding_transcript import encode_vector, require_vector
from protocol.errors import MalformedMessage
from protocol.registry import JSON
from protocol.strict_json import decode_base64


class Entry(msgspec.Struct):
    """What is read of one embedding; some servers do not number theirs."""

    embedding: list[float] | str
    index: int | None = None


class EmbeddingAnswer(msgspec.Struct):
    """What is read of an answer."""

    data: list[Entry] = []
    usage: dict[str, Any] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


def write_request(question: Embedding, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`, which is the same for either encoding of the answer.

    Numbers are asked for, by default: not every server knows base64.
    """
    body: dict[str, Any] = {"model": model.upstream_name, "input": question.entries}
    if question.dimensions is not None:
        body["dimensions"] = question.dimensions
    body |= kept_from_keeping(model.profile)
    if model.profile.cache_salt:
        body["cache_salt"] = fresh_salt()
    content = msgspec.json.encode(body)
    return UpstreamRequest("/embeddings", account_fields(account), content, JSON)


def read_answer(body: bytes, entries: int) -> Vectors:
    """Return the vectors of so many entries; raises UpstreamError."""
    try:
        answer = msgspec.json.decode(body, type=EmbeddingAnswer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UpstreamError(Failure.BROKEN) from None
    if bytes(answer.error) != b"null":
        raise fault_in_stream(bytes(answer.error))
    numbered = {
        place if entry.index is None else entry.index: entry.embedding
        for place, entry in enumerate(answer.data)
    }
    if len(answer.data) != entries or numbered.keys() != set(range(entries)):
        raise UpstreamError(Failure.BROKEN)
    vectors = [_vector(numbered[index]) for index in range(entries)]
    return Vectors(vectors, _counted(answer.usage))


def _vector(said: list[float] | str) -> bytes:
    try:
        if isinstance(said, str):
            return require_vector(decode_base64(said))
        return encode_vector(said)
    except (ValueError, MalformedMessage):
        raise UpstreamError(Failure.BROKEN) from None


def _counted(usage: dict[str, Any] | None) -> int | None:
    """Return the count of tokens, if there is one."""
    tokens = (usage or {}).get("prompt_tokens")
    return tokens if type(tokens) is int and tokens >= 0 else None

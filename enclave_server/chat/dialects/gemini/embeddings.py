"""Embeddings of the Gemini API, several in one request: `batchEmbedContents`."""

from typing import Any

import msgspec

from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.dialects.gemini.requests import account_fields, is_vertex, resource_of
from enclave_server.chat.dialects.refusals import unsupported_value
from enclave_server.chat.embedding import Embedding, Vectors
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.models import Model
from protocol.embedding_transcript import encode_vector
from protocol.registry import JSON

Json = dict[str, Any]


class ContentEmbedding(msgspec.Struct):
    """What is read of one embedding."""

    values: list[float] = []


class EmbeddingAnswer(msgspec.Struct):
    """What is read of an answer."""

    embeddings: list[ContentEmbedding] = []


def write_request(question: Embedding, model: Model, account: Account) -> UpstreamRequest:
    """Return the request for `question`; raises ChatError 400 for what the API has no word for."""
    if is_vertex(model):
        raise unsupported_value("model", "Vertex AI makes no embeddings in this dialect.")
    name = resource_of(model.upstream_name)
    requests = [_request(name, text, question.dimensions) for text in _texts(question)]
    content = msgspec.json.encode({"requests": requests})
    return UpstreamRequest(
        f"/{name}:batchEmbedContents", account_fields(model, account), content, JSON
    )


def _texts(question: Embedding) -> list[str]:
    texts = [entry for entry in question.entries if isinstance(entry, str)]
    if len(texts) != len(question.entries):
        raise unsupported_value("input", "It takes texts, and no tokens.")
    return texts


def _request(name: str, text: str, dimensions: int | None) -> Json:
    request: Json = {"model": name, "content": {"parts": [{"text": text}]}}
    return request if dimensions is None else {**request, "outputDimensionality": dimensions}


def read_answer(body: bytes, entries: int) -> Vectors:
    """Return the vectors of so many entries, in their order; raises UpstreamError."""
    try:
        answer = msgspec.json.decode(body, type=EmbeddingAnswer)
        vectors = [encode_vector(each.values) for each in answer.embeddings]
    except (ValueError, RecursionError):  # msgspec's errors, and those of UTF-8, are ValueErrors
        raise UpstreamError(Failure.BROKEN) from None
    if len(vectors) != entries:
        raise UpstreamError(Failure.BROKEN)
    return Vectors(vectors)

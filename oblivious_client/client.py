"""The simple way to ask: every answer is verified against the attested signing key.

with ObliviousClient("https://relay.example") as client:
    print(client.chat("What is the capital of France?").text)
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import closing
from types import TracebackType
from typing import Any, Self, Unpack

import httpx

from oblivious_client.answers import (
    Answer,
    Embeddings,
    StreamedAnswer,
    check_embeddings,
    check_signature,
    parse_object,
    raise_for_error,
    text_of,
)
from oblivious_client.defaults import DEFAULT_MODEL as DEFAULT_MODEL
from oblivious_client.errors import UsageError
from oblivious_client.fetching import CONNECT_SECONDS
from oblivious_client.route import Route, RouteOptions
from oblivious_client.transport import AsyncObliviousTransport, ObliviousTransport
from protocol.evidence import VerifiedEvidence

# A model that thinks long is silent long; the gateway has deadlines of its own.
ANSWER_SECONDS = 300.0
TIMEOUT = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)

# Only the path of these is sealed; there is no such host.
_CHAT = "https://sealed.invalid/v1/chat/completions"
_EMBEDDINGS = "https://sealed.invalid/v1/embeddings"
_MODELS = "https://sealed.invalid/v1/models"

Question = str | Sequence[Mapping[str, Any]]
Entries = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]


def chat_body(question: Question, model: str, options: Mapping[str, Any]) -> bytes:
    """Return the exact bytes that are sealed, hashed and answered."""
    messages = [{"role": "user", "content": question}] if isinstance(question, str) else question
    return _encoded({"model": model, "messages": list(messages), **options})


def embedding_body(entries: Entries, model: str, options: Mapping[str, Any]) -> bytes:
    """Return the exact bytes that are sealed, hashed and answered."""
    return _encoded({"model": model, "input": entries, **options})


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError as error:
        # Bytes of a command line that are no text in its encoding arrive as lone surrogates.
        raise UsageError("the question or an option is not UTF-8 text") from error


class _Progress:
    """A streamed answer as far as it has come, however its pieces are read."""

    def __init__(self, request: bytes, response: httpx.Response) -> None:
        self.evidence = evidence_of(response)
        self._request = request
        self._streamed = StreamedAnswer()
        self._answer: Answer | None = None

    @property
    def answer(self) -> Answer:
        """The whole answer; ValueError before its end."""
        if self._answer is None:
            raise ValueError("the answer has not ended")
        return self._answer

    def texts(self, data: bytes) -> Iterator[str]:
        """Yield the text of the first choice that `data` completes."""
        for chunk in self._streamed.feed(data):
            for choice in (chunk.get("choices") or ())[:1]:
                yield text_of(choice.get("delta") or choice)

    def finish(self) -> None:
        """Take the end; raises AnswerTruncated or AnswerUnproven."""
        body = self._streamed.finish()
        signed = check_signature(self.evidence, self._request, body)
        self._answer = Answer(self._request, body, self.evidence, signed)


class ChatStream:
    """Pieces of an answer as they verify; `answer` is there once the iteration has ended."""

    def __init__(self, request: bytes, response: httpx.Response) -> None:
        self._progress = _Progress(request, response)
        self._response = response

    def __iter__(self) -> Iterator[str]:
        """Yield text; raises AnswerTruncated or AnswerUnproven at the end of a bad answer."""
        with closing(self._response):
            for data in self._response.iter_bytes():
                yield from self._progress.texts(data)
        self._progress.finish()

    @property
    def evidence(self) -> VerifiedEvidence:
        """The evidence that was relied on."""
        return self._progress.evidence

    @property
    def answer(self) -> Answer:
        """The whole answer, its signature verified; ValueError before its end."""
        return self._progress.answer

    def close(self) -> None:
        """Stop the answer: the gateway stops generating."""
        self._response.close()


class AsyncChatStream:
    """The asynchronous twin of ChatStream."""

    def __init__(self, request: bytes, response: httpx.Response) -> None:
        self._progress = _Progress(request, response)
        self._response = response

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield text; raises AnswerTruncated or AnswerUnproven at the end of a bad answer."""
        try:
            async for data in self._response.aiter_bytes():
                for text in self._progress.texts(data):
                    yield text
        finally:
            await self._response.aclose()
        self._progress.finish()

    @property
    def evidence(self) -> VerifiedEvidence:
        """The evidence that was relied on."""
        return self._progress.evidence

    @property
    def answer(self) -> Answer:
        """The whole answer, its signature verified; ValueError before its end."""
        return self._progress.answer

    async def aclose(self) -> None:
        """Stop the answer: the gateway stops generating."""
        await self._response.aclose()


class ObliviousClient:
    """Asks by a route; nothing is sent before the evidence has verified.

    Takes a `Route`, or its parts: the relay's address first, the others by name.
    """

    def __init__(self, relay: Route | str | None = None, **options: Unpack[RouteOptions]) -> None:
        self.transport = ObliviousTransport(relay, **options)
        self._http = httpx.Client(transport=self.transport, timeout=TIMEOUT)

    def evidence(self) -> VerifiedEvidence:
        """Return verified evidence; raises EvidenceRefused."""
        return self.transport.evidence()

    def models(self) -> list[str]:
        """Return the names of the models that the gateway offers."""
        response = self._http.get(_MODELS)
        raise_for_error(response.status_code, response.content)
        return _model_names(response.content)

    def chat(self, question: Question, *, model: str = DEFAULT_MODEL, **options: Any) -> Answer:
        """Return the whole answer, its signature verified; `options` are OpenAI's."""
        request = chat_body(question, model, options)
        return whole_answer(request, self._http.post(_CHAT, content=request))

    def embed(self, entries: Entries, *, model: str, **options: Any) -> Embeddings:
        """Return the embeddings of one or several texts or lists of tokens, verified."""
        request = embedding_body(entries, model, options)
        return whole_embeddings(request, self._http.post(_EMBEDDINGS, content=request))

    def stream(
        self, question: Question, *, model: str = DEFAULT_MODEL, **options: Any
    ) -> ChatStream:
        """Return the answer as it comes; `options` are OpenAI's."""
        request = chat_body(question, model, {**options, "stream": True})
        response = self._http.send(
            self._http.build_request("POST", _CHAT, content=request), stream=True
        )
        if response.status_code != httpx.codes.OK:
            with closing(response):
                raise_for_error(response.status_code, response.read())
        return ChatStream(request, response)

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self.close()


class AsyncObliviousClient:
    """The asynchronous twin of ObliviousClient."""

    def __init__(self, relay: Route | str | None = None, **options: Unpack[RouteOptions]) -> None:
        self.transport = AsyncObliviousTransport(relay, **options)
        self._http = httpx.AsyncClient(transport=self.transport, timeout=TIMEOUT)

    async def evidence(self) -> VerifiedEvidence:
        """Return verified evidence; raises EvidenceRefused."""
        return await self.transport.evidence()

    async def models(self) -> list[str]:
        """Return the names of the models that the gateway offers."""
        response = await self._http.get(_MODELS)
        raise_for_error(response.status_code, response.content)
        return _model_names(response.content)

    async def chat(
        self, question: Question, *, model: str = DEFAULT_MODEL, **options: Any
    ) -> Answer:
        """Return the whole answer, its signature verified; `options` are OpenAI's."""
        request = chat_body(question, model, options)
        return whole_answer(request, await self._http.post(_CHAT, content=request))

    async def embed(self, entries: Entries, *, model: str, **options: Any) -> Embeddings:
        """Return the embeddings of one or several texts or lists of tokens, verified."""
        request = embedding_body(entries, model, options)
        return whole_embeddings(request, await self._http.post(_EMBEDDINGS, content=request))

    async def stream(
        self, question: Question, *, model: str = DEFAULT_MODEL, **options: Any
    ) -> AsyncChatStream:
        """Return the answer as it comes; `options` are OpenAI's."""
        request = chat_body(question, model, {**options, "stream": True})
        response = await self._http.send(
            self._http.build_request("POST", _CHAT, content=request), stream=True
        )
        if response.status_code != httpx.codes.OK:
            raise_for_error(response.status_code, await response.aread())
        return AsyncChatStream(request, response)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self.aclose()


def evidence_of(response: httpx.Response) -> VerifiedEvidence:
    """Return the evidence that an answer of the oblivious transports relied on."""
    evidence = response.extensions["oblivious_evidence"]
    if not isinstance(evidence, VerifiedEvidence):
        raise TypeError("not an answer of an oblivious transport")
    return evidence


def whole_answer(request: bytes, response: httpx.Response) -> Answer:
    """Return the answer in `response`, its signature verified."""
    raise_for_error(response.status_code, response.content)
    body = parse_object(response.content)
    evidence = evidence_of(response)
    return Answer(request, body, evidence, check_signature(evidence, request, body))


def whole_embeddings(request: bytes, response: httpx.Response) -> Embeddings:
    """Return the embeddings in `response`, their signature verified."""
    raise_for_error(response.status_code, response.content)
    body = parse_object(response.content)
    evidence = evidence_of(response)
    return Embeddings(request, body, evidence, check_embeddings(evidence, request, body))


def _model_names(data: bytes) -> list[str]:
    models = parse_object(data).get("data") or ()
    return [str(model["id"]) for model in models if isinstance(model, dict) and "id" in model]

"""OpenAI's completions of prompts: `POST /v1/completions`."""

from typing import Annotated

import msgspec
from msgspec import Meta

from enclave_server.chat.conversation import (
    Answer,
    Choice,
    ChoiceDelta,
    Continuation,
    Logprobs,
    TokenLogprob,
)
from enclave_server.chat.errors import ChatError
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.openai import OpenAIStream, Parts, write_answer
from enclave_server.chat.surfaces.shapes import (
    Choices,
    Request,
    Token,
    convert,
    strip,
    taken_sampling,
)
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response

OBJECT_TYPE = "text_completion"


class CompletionRequest(Request, kw_only=True):
    """The body of `POST /v1/completions`; `prompt` is text, tokens, or a list of either."""

    prompt: str | Annotated[list[str | Token | list[Token]], Meta(min_length=1)]
    suffix: str | None = None
    max_tokens: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    best_of: Choices | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.prompt, list) and len({type(item) for item in self.prompt}) > 1:
            raise ValueError("Expected items of one type in `prompt`")


class TextChoice(msgspec.Struct):
    """One of the continuations of a prompt, or what an event adds to it."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: str | None


class Completions:
    """Reads prompts; what they are continued with is called text in place of content."""

    id_prefix = "cmpl-"

    def read(self, content: bytes) -> Continuation:
        """Return the prompt in `content` and how it is to be continued; raises ChatError."""
        sampling, fields = taken_sampling(strip(parse_object(content)))
        wanted = convert(fields, CompletionRequest)
        return Continuation(
            **wanted.question(),
            sampling=sampling,
            prompt=wanted.prompt,
            suffix=wanted.suffix,
            max_tokens=wanted.max_tokens,
            best_of=wanted.best_of,
            echo=wanted.echo,
            logprobs=wanted.logprobs,
        )

    def fit(self, answer: Answer) -> None:
        """Change nothing: all that is said can be told here."""

    def write(self, answer: Answer, identity: Identity, signature: Signature) -> bytes:
        """Return a whole answer."""
        offsets = Offsets()
        choices = [_choice(choice, offsets) for choice in answer.choices]
        return write_answer(OBJECT_TYPE, choices, answer, identity, signature)

    def stream(self, identity: Identity) -> OpenAIStream:
        """Return what writes a streamed answer."""
        offsets = Offsets()

        def encode(parts: Parts) -> bytes:
            return msgspec.json.encode([_part(part, offsets) for part in parts])

        return OpenAIStream(OBJECT_TYPE, encode, identity)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return error.response()


class Offsets:
    """Puts likelihoods into the shape of completions, which says where in its text a token is."""

    __slots__ = ("_reached",)

    def __init__(self) -> None:
        self._reached: dict[int, int] = {}  # of each choice, in characters

    def legacy(self, index: int, logprobs: Logprobs | None) -> Logprobs | None:
        """Return the likelihoods of what comes next of a choice; some servers give those of chats.

        The likeliest tokens are a JSON object there: of two that read alike the likelier stays.
        """
        if logprobs is None or logprobs.content is None:
            return logprobs
        start, offsets = self._reached.get(index, 0), []
        for token in logprobs.content:
            offsets.append(start)
            start += len(token.token)
        self._reached[index] = start
        return Logprobs(
            tokens=[token.token for token in logprobs.content],
            token_logprobs=[token.logprob for token in logprobs.content],
            top_logprobs=[_likely(token) for token in logprobs.content],
            text_offset=offsets,
        )


def _likely(token: TokenLogprob) -> dict[str, float]:
    return {top.token: top.logprob for top in reversed(token.top_logprobs)}


def _choice(choice: Choice, offsets: Offsets) -> TextChoice:
    text = choice.message.content or ""
    logprobs = offsets.legacy(choice.index, choice.logprobs)
    return TextChoice(choice.index, text, logprobs, choice.finish_reason)


def _part(part: ChoiceDelta, offsets: Offsets) -> TextChoice:
    text = part.delta.content or ""
    logprobs = offsets.legacy(part.index, part.logprobs)
    return TextChoice(part.index, text, logprobs, part.finish_reason)

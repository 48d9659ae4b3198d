"""OpenAI's embeddings: `POST /v1/embeddings`."""

import base64
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from enclave_server.chat.embedding import Embedding, Encoding, Vectors
from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import parse_object
from enclave_server.chat.surfaces.shapes import Name, Shape, Token, convert, strip
from enclave_server.chat.surfaces.surface import Identity, Signature
from protocol.binary_http import Response
from protocol.embedding_transcript import decode

# No model gives more: the largest give some thousands.
MAX_DIMENSIONS = 65_536

Tokens = Annotated[list[Token], Meta(min_length=1)]


class EmbeddingRequest(Shape, kw_only=True):
    """The body of `POST /v1/embeddings`; `input` is text, tokens, or a list of either."""

    model: Name
    input: str | Annotated[list[str | Token | Tokens], Meta(min_length=1)]
    dimensions: Annotated[int, Meta(ge=1, le=MAX_DIMENSIONS)] | None = None
    encoding_format: Literal["float", "base64"] | None = None


class Embeddings:
    """Reads entries to embed, and writes their vectors. Its answers have no identifier."""

    id_prefix = ""

    def read(self, content: bytes) -> Embedding:
        """Return the entries in `content`; raises ChatError."""
        wanted = convert(strip(parse_object(content)), EmbeddingRequest)
        return Embedding(
            model=wanted.model,
            entries=_entries(wanted.input),
            dimensions=wanted.dimensions,
            encoding=wanted.encoding_format or "float",
        )

    def write(
        self, answer: Vectors, encoding: Encoding, identity: Identity, signature: Signature
    ) -> bytes:
        """Return the answer."""
        body = {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _written(vector, encoding)}
                for index, vector in enumerate(answer.vectors)
            ],
            "model": identity.model,
            **({} if answer.tokens is None else {"usage": _counts(answer.tokens)}),
            **signature,
        }
        return msgspec.json.encode(body)

    def refuse(self, error: ChatError) -> Response:
        """Return what a request gets that is refused."""
        return error.response()


def _entries(said: str | list[str | int | list[int]]) -> list[str] | list[list[int]]:
    """Return the entries as a list, in whichever way they are said; raises ChatError."""
    if isinstance(said, str):
        return [said]
    texts = [item for item in said if isinstance(item, str)]
    tokens = [item for item in said if isinstance(item, int)]
    lists = [item for item in said if isinstance(item, list)]
    if len(said) not in (len(texts), len(tokens), len(lists)):
        sentence = "Invalid value for 'input': Expected items of one type."
        raise invalid(sentence, "input", "invalid_value")
    return texts or lists or [tokens]


def _written(vector: bytes, encoding: Encoding) -> str | list[float]:
    if encoding == "base64":
        return base64.b64encode(vector).decode()
    # Nine digits say a binary32 exactly; all that a binary64 has would double the answer.
    return [float(f"{component:.9g}") for component in decode(vector)]


def _counts(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}

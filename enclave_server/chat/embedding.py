"""The neutral form of embeddings: texts or tokens in, vectors out."""

from typing import Literal

import msgspec

Encoding = Literal["float", "base64"]


class Wanted(msgspec.Struct, frozen=True):
    """What the answer must have: so many vectors, and how they are written."""

    entries: int
    encoding: Encoding = "float"


class Embedding(msgspec.Struct, frozen=True, kw_only=True):
    """Entries that the model is to embed, each a text or tokens, all of one kind.

    `encoding` is a wish of how the answer is written, of which no upstream learns.
    """

    model: str
    entries: list[str] | list[list[int]]
    dimensions: int | None = None
    encoding: Encoding = "float"

    @property
    def wanted(self) -> Wanted:
        """What the answer must have."""
        return Wanted(len(self.entries), self.encoding)


class Vectors(msgspec.Struct, frozen=True):
    """The vectors in the order of their entries, each binary32, little-endian.

    `tokens` is how many were read, where that is told.
    """

    vectors: list[bytes]
    tokens: int | None = None

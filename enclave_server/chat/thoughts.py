"""What a model thought, as its provider wants it back: signed, and in its place in the answer.

Providers that sign thoughts verify that none was changed, left out or moved. So the state of an
answer says where each stood among text and calls: a list of thoughts, of zeros for calls, and of
other numbers for so many characters of text.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from enclave_server.chat.conversation import Message, Refusal, Text, ToolCall

CALL = 0

DIALECTS = frozenset({"anthropic", "bedrock"})
"""Those whose states are of this form."""


class Thought(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="s"):
    """A thought that its provider signed."""

    text: str
    signature: str


class Hidden(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, tag="h"):
    """A thought that its provider shows nobody: octets that it alone can read, in base64."""

    data: str


Length = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Piece = Length | Thought | Hidden
Said = str | ToolCall | Thought | Hidden

_DECODER = msgspec.json.Decoder(list[Piece])


def encode_pieces(pieces: Sequence[Piece]) -> bytes:
    """Return the value of a state."""
    return msgspec.json.encode(pieces)


def decode_pieces(value: bytes) -> list[Piece]:
    """Return what `encode_pieces` was given; raises ValueError for anything else."""
    try:
        return _DECODER.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("not the value of a state") from None


def said(message: Message, pieces: Sequence[Piece]) -> list[Said]:
    """Return what `in_order` does, but for thoughts at the end: no provider goes on from one."""
    all_said = in_order(message, pieces)
    while all_said and isinstance(all_said[-1], Thought | Hidden):
        del all_said[-1]
    return all_said


def in_order(message: Message, pieces: Sequence[Piece]) -> list[Said]:
    """Return what the assistant said in `message`, with its thoughts in their places.

    If text or calls are no longer what `pieces` speak of, thoughts come first, as most do.
    """
    texts, calls = list(_texts(message)), message.calls or []
    whole = "".join(texts)
    lengths = [piece for piece in pieces if isinstance(piece, int)]
    if _fits(lengths, whole, calls):
        return list(_in_place(pieces, whole, calls))
    return [*(piece for piece in pieces if not isinstance(piece, int)), *texts, *calls]


def _fits(lengths: Sequence[int], text: str, calls: Sequence[ToolCall]) -> bool:
    return (sum(lengths), lengths.count(CALL)) == (len(text), len(calls))


def _in_place(pieces: Sequence[Piece], text: str, calls: Sequence[ToolCall]) -> Iterator[Said]:
    start, left = 0, iter(calls)
    for piece in pieces:
        if not isinstance(piece, int):
            yield piece
        elif piece == CALL:
            yield next(left)
        else:
            yield text[start : start + piece]
            start += piece


def _texts(message: Message) -> Iterator[str]:
    """Yield the texts of `message` that are not empty, its refusal last."""
    content = message.content or ()
    parts = [Text(content)] if isinstance(content, str) else content
    for part in (*parts, Refusal(message.refusal or "")):
        if isinstance(part, Text | Refusal) and part.text:
            yield part.text

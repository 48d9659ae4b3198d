"""Thoughts in Anthropic's shape: their signatures carry what their provider wants back.

A signature that is given here names the upstream and the model that made it, so that it goes back
to no other. One that was given elsewhere is Anthropic's own.
"""

from collections.abc import Iterable

from enclave_server.chat import states
from enclave_server.chat.conversation import State
from enclave_server.chat.states import Origin
from enclave_server.chat.surfaces.messages_shapes import RedactedThinkingBlock, ThinkingBlock
from enclave_server.chat.thoughts import (
    CALL,
    DIALECTS,
    Hidden,
    Piece,
    Thought,
    decode_pieces,
    encode_pieces,
)

ANTHROPIC = "anthropic"

ThoughtBlock = ThinkingBlock | RedactedThinkingBlock


def wrap(state: State, origin: Origin) -> str:
    """Return the text that carries `state`, for a signature."""
    text: str = states.write(state, origin)[states.OURS]["state"]
    return text


def wrap_piece(piece: Thought | Hidden, dialect: str, origin: Origin) -> str:
    """Return the text that carries the signature of a thought, or a hidden one whole."""
    kept = Thought("", piece.signature) if isinstance(piece, Thought) else piece
    return wrap(State(dialect, encode_pieces([kept])), origin)


class Thoughts:
    """The thoughts of one message, with the places of text and calls between them."""

    __slots__ = ("_foreign", "_maker", "_pieces", "_words")

    def __init__(self) -> None:
        self._words: list[str] = []  # a text that grows would be copied for each of them
        self._pieces: list[Piece] = []
        self._maker: State | None = None
        self._foreign: State | None = None

    @property
    def text(self) -> str:
        """All that was thought."""
        return "".join(self._words)

    def place(self, text: str) -> None:
        """Add a text."""
        if text:
            self._pieces.append(len(text))

    def place_call(self) -> None:
        """Add a call."""
        self._pieces.append(CALL)

    def add(self, block: ThoughtBlock) -> None:
        """Add a thought; one that nobody signed, or another maker than the first, is left out."""
        if isinstance(block, ThinkingBlock):
            self._words.append(block.thinking)
            carried = block.signature
        else:
            carried = block.data
        if not carried:
            return
        state = _unwrap(carried)
        if state is not None and state.dialect not in DIALECTS:
            self._foreign = state
            return
        if state is None:
            own = Hidden(carried) if isinstance(block, RedactedThinkingBlock) else None
            state, pieces = State(ANTHROPIC, b""), [own or Thought("", carried)]
        else:
            pieces = _pieces_of(state)
        self._maker = self._maker or state
        if (self._maker.dialect, self._maker.origin) == (state.dialect, state.origin):
            self._pieces += _with_text(pieces, block)

    def state(self) -> State | None:
        """Return the state of the message, if it has one."""
        if self._foreign is not None or self._maker is None:
            return self._foreign
        value = encode_pieces(self._pieces)
        return State(self._maker.dialect, value, self._maker.origin)


def _unwrap(text: str) -> State | None:
    try:
        return states.read({states.OURS: {"state": text}})
    except states.Malformed:
        return None


def _pieces_of(state: State) -> list[Thought | Hidden]:
    try:
        pieces = decode_pieces(state.value)
    except ValueError:
        return []
    # Each carries one thought or one hidden. Of more, each would get the whole text of its block.
    thoughts = [piece for piece in pieces if not isinstance(piece, int)]
    return thoughts if len(thoughts) == 1 else []


def _with_text(pieces: Iterable[Thought | Hidden], block: ThoughtBlock) -> Iterable[Piece]:
    for piece in pieces:
        if isinstance(piece, Thought) and isinstance(block, ThinkingBlock):
            yield Thought(block.thinking, piece.signature)
        elif isinstance(piece, Hidden):
            yield piece

"""Answers that are made of blocks: text, thoughts and calls, one after another.

A call is passed on when it is whole: what has been passed on cannot be taken back, and some
upstreams begin an answer anew in its midst.
"""

from collections.abc import Iterable, Iterator

import msgspec
from msgspec import UNSET

from enclave_server.chat.conversation import (
    Answer,
    Call,
    CallDelta,
    Choice,
    ChoiceDelta,
    Delta,
    Event,
    Function,
    FunctionDelta,
    PartState,
    Reply,
    State,
    Usage,
)
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.thoughts import CALL, Hidden, Piece, Thought, encode_pieces

# What of an answer is kept here until it is whole: the arguments of a call, thoughts with their
# signatures, and of each piece its place, generously.
MAX_KEPT_CHARACTERS = 4 * 1024 * 1024
PIECE_CHARACTERS = 64
CHARACTER_OCTETS = 4

NO_ARGUMENTS = "{}"

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class OpenCall(msgspec.Struct):
    """A call as far as it has come; `given` are its arguments if no words of them come."""

    id: str
    name: str
    given: str
    words: bytearray = msgspec.field(default_factory=bytearray)

    @property
    def arguments(self) -> str:
        """The arguments as far as they have come."""
        return self.words.decode() or self.given


class Blocks(msgspec.Struct):
    """Turns what blocks say into events, and at the end into the state of the answer, if any.

    Raises UpstreamError for what is no answer. `characters` are those that are kept.
    """

    dialect: str
    calls: int = 0
    characters: int = 0
    open: OpenCall | None = None
    pieces: list[Piece] = []
    thought: bytearray = msgspec.field(default_factory=bytearray)
    signature: bytearray = msgspec.field(default_factory=bytearray)

    @property
    def kept(self) -> int:
        """The octets that are kept of the answer, about."""
        return CHARACTER_OCTETS * self.characters

    def say(self, text: str) -> Iterator[Event]:
        """Add text."""
        if text:
            self._place(len(text))
            yield _event(Delta(content=text))

    def think(self, text: str) -> Iterator[Event]:
        """Add to a thought."""
        if text:
            self._keep(text)
            self.thought += text.encode()
            yield _event(Delta(reasoning_content=text))

    def sign(self, signature: str) -> None:
        """Add to the signature of the thought."""
        if signature:
            self._keep(signature)
            self.signature += signature.encode()

    def hide(self, data: str) -> Iterator[Event]:
        """Add a thought that is not shown."""
        self._keep(data)
        yield self._end_thought(Hidden(data))

    def call(self, identifier: str, name: str, given: str) -> None:
        """Begin a call, with the arguments that it has if no more come."""
        if self.open is not None:
            raise UpstreamError(Failure.TOOL_USE_FAILED)
        self._keep(identifier + name + given)
        self.open = OpenCall(identifier, name, given)

    def argue(self, fragment: str) -> None:
        """Add to the arguments of the call."""
        if self.open is None:
            raise UpstreamError(Failure.BROKEN)
        self._keep(fragment)
        self.open.words += fragment.encode()

    def end(self) -> Iterator[Event]:
        """End the block; a call whose arguments are cut waits for the reason."""
        if self.signature:
            yield self._end_thought(Thought(self.thought.decode(), self.signature.decode()))
        self.thought.clear()
        self.signature.clear()
        if self.open is not None and _is_object(self.open.arguments):
            yield self._pass_on(self.open)

    def forget(self) -> None:
        """Forget what is not whole: the answer begins anew."""
        self.open = None
        self.thought.clear()
        self.signature.clear()

    def finish(self, reason: str) -> Iterator[Event]:
        """End the answer for that reason, in the words of chat completions."""
        yield from self.end()
        if self.open is not None:
            if reason != "length":
                raise UpstreamError(Failure.TOOL_USE_FAILED)
            yield self._pass_on(self.open)
        if any(not isinstance(piece, int) for piece in self.pieces):
            state = State(self.dialect, encode_pieces(self.pieces))
            yield Event(states=(PartState(0, state),))
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self.calls else "stop"
        yield Event([ChoiceDelta(0, finish_reason=reason)])

    def _end_thought(self, thought: Thought | Hidden) -> Event:
        self._place(thought)
        return Event(thought=State(self.dialect, encode_pieces([thought])))

    def _pass_on(self, call: OpenCall) -> Event:
        function = FunctionDelta(call.name, call.arguments)
        event = _event(Delta(tool_calls=[CallDelta(self.calls, call.id, "function", function)]))
        self.calls += 1
        self.open = None
        self._place(CALL)
        return event

    def _place(self, piece: Piece) -> None:
        last = self.pieces[-1] if self.pieces else CALL
        if isinstance(piece, int) and isinstance(last, int) and CALL not in (piece, last):
            self.pieces[-1] = last + piece
            return
        self._keep_characters(PIECE_CHARACTERS)
        self.pieces.append(piece)

    def _keep(self, text: str) -> None:
        self._keep_characters(len(text))

    def _keep_characters(self, count: int) -> None:
        self.characters += count
        if self.characters > MAX_KEPT_CHARACTERS:
            raise UpstreamError(Failure.BROKEN)


def gather(events: Iterable[Event], usage: Usage | None) -> Answer:
    """Return the one whole answer that `events` make."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Call] = []
    states: tuple[PartState, ...] = ()
    reason = None
    for event in events:
        states += event.states
        for part in event.choices:
            texts.append(part.delta.content or "")
            thoughts.append(part.delta.reasoning_content or "")
            calls += [_call(call) for call in part.delta.tool_calls or ()]
            reason = part.finish_reason or reason
    reply = Reply(
        content="".join(texts) or (None if calls else ""),
        tool_calls=calls or UNSET,
        reasoning_content="".join(thoughts) or UNSET,
    )
    return Answer([Choice(0, reply, finish_reason=reason)], usage, states)


def _call(call: CallDelta) -> Call:
    return Call(call.id or "", Function(call.function.name or "", call.function.arguments or ""))


def _event(delta: Delta) -> Event:
    return Event([ChoiceDelta(0, delta)])


def one_form(written: msgspec.Raw) -> str:
    """Return the arguments of a call, a JSON value, in one form; raises UpstreamError."""
    octets = bytes(written)
    if octets in (b"", b"null"):
        return NO_ARGUMENTS
    try:
        return msgspec.json.format(octets, indent=-1).decode()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise UpstreamError(Failure.BROKEN) from None


def _is_object(arguments: str) -> bool:
    try:
        _OBJECT.decode(arguments)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return False
    return True

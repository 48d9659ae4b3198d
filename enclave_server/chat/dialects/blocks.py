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


class _OpenCall:
    """A call as far as it has come."""

    __slots__ = ("given", "id", "name", "words")

    def __init__(self, identifier: str, name: str, given: str) -> None:
        self.id, self.name, self.given = identifier, name, given
        self.words: list[str] = []

    @property
    def arguments(self) -> str:
        return "".join(self.words) or self.given


class Blocks:
    """Turns what blocks say into events, and at the end into the state of the answer, if any.

    Raises UpstreamError for what is no answer.
    """

    __slots__ = ("_calls", "_dialect", "_kept", "_open", "_pieces", "_signature", "_thought")

    def __init__(self, dialect: str) -> None:
        self._dialect = dialect
        self._calls = 0
        self._kept = 0
        self._open: _OpenCall | None = None
        self._pieces: list[Piece] = []
        self._thought: list[str] = []
        self._signature: list[str] = []

    @property
    def kept(self) -> int:
        """The octets that are kept of the answer, about."""
        return CHARACTER_OCTETS * self._kept

    def say(self, text: str) -> Iterator[Event]:
        """Add text."""
        if text:
            self._place(len(text))
            yield _event(Delta(content=text))

    def think(self, text: str) -> Iterator[Event]:
        """Add to a thought."""
        if text:
            self._keep(text)
            self._thought.append(text)
            yield _event(Delta(reasoning_content=text))

    def sign(self, signature: str) -> None:
        """Add to the signature of the thought."""
        if signature:
            self._keep(signature)
            self._signature.append(signature)

    def hide(self, data: str) -> Iterator[Event]:
        """Add a thought that is not shown."""
        self._keep(data)
        yield self._end_thought(Hidden(data))

    def call(self, identifier: str, name: str, given: str) -> None:
        """Begin a call, with the arguments that it has if no more come."""
        if self._open is not None:
            raise UpstreamError(Failure.TOOL_USE_FAILED)
        self._keep(identifier + name + given)
        self._open = _OpenCall(identifier, name, given)

    def argue(self, fragment: str) -> None:
        """Add to the arguments of the call."""
        if self._open is None:
            raise UpstreamError(Failure.BROKEN)
        self._keep(fragment)
        self._open.words.append(fragment)

    def end(self) -> Iterator[Event]:
        """End the block; a call whose arguments are cut waits for the reason."""
        if self._signature:
            text, signature = "".join(self._thought), "".join(self._signature)
            yield self._end_thought(Thought(text, signature))
        self._thought.clear()
        self._signature.clear()
        if self._open is not None and _is_object(self._open.arguments):
            yield self._pass_on(self._open)

    def forget(self) -> None:
        """Forget what is not whole: the answer begins anew."""
        self._open = None
        self._thought.clear()
        self._signature.clear()

    def finish(self, reason: str) -> Iterator[Event]:
        """End the answer for that reason, in the words of chat completions."""
        yield from self.end()
        if self._open is not None:
            if reason != "length":
                raise UpstreamError(Failure.TOOL_USE_FAILED)
            yield self._pass_on(self._open)
        if any(not isinstance(piece, int) for piece in self._pieces):
            state = State(self._dialect, encode_pieces(self._pieces))
            yield Event(states=(PartState(0, state),))
        if reason in ("stop", "tool_calls"):
            reason = "tool_calls" if self._calls else "stop"
        yield Event([ChoiceDelta(0, finish_reason=reason)])

    def _end_thought(self, thought: Thought | Hidden) -> Event:
        self._place(thought)
        return Event(thought=State(self._dialect, encode_pieces([thought])))

    def _pass_on(self, call: _OpenCall) -> Event:
        function = FunctionDelta(call.name, call.arguments)
        event = _event(Delta(tool_calls=[CallDelta(self._calls, call.id, "function", function)]))
        self._calls += 1
        self._open = None
        self._place(CALL)
        return event

    def _place(self, piece: Piece) -> None:
        last = self._pieces[-1] if self._pieces else CALL
        if isinstance(piece, int) and isinstance(last, int) and CALL not in (piece, last):
            self._pieces[-1] = last + piece
            return
        self._keep_characters(PIECE_CHARACTERS)
        self._pieces.append(piece)

    def _keep(self, text: str) -> None:
        self._keep_characters(len(text))

    def _keep_characters(self, count: int) -> None:
        self._kept += count
        if self._kept > MAX_KEPT_CHARACTERS:
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

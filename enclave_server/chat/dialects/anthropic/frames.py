"""Events of Anthropic's API within Amazon's frames: each is base64 in a JSON object."""

from collections.abc import Iterator

import msgspec

from enclave_server.chat.conversation import Event
from enclave_server.chat.dialects.amazon.faults import fault_in_stream
from enclave_server.chat.dialects.amazon.frames import Frame, FrameParser, pack, unpack
from enclave_server.chat.dialects.anthropic.events import MessageEvents
from enclave_server.chat.dialects.handing import NO_LIMIT, restore, save
from enclave_server.chat.errors import Failure, UpstreamError
from protocol.errors import MalformedMessage


class Chunk(msgspec.Struct):
    """The payload of a frame."""

    bytes: bytes


class FramedEventReader:
    """Reads the frames of an answer."""

    __slots__ = ("_decoder", "_events", "_parser", "largest")

    def __init__(self) -> None:
        self.largest = NO_LIMIT
        self._parser = FrameParser()
        self._decoder = msgspec.json.Decoder(Chunk)
        self._events = MessageEvents()

    @property
    def kept(self) -> int:
        """The octets that it keeps of the answer, beside what it has given, about."""
        return self._parser.kept + self._events.kept

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes; raises UpstreamError."""
        try:
            for frame in self._parser.feed(piece):
                if len(frame.payload) > self.largest:
                    yield Event(large=pack(frame))
                else:
                    yield from self._events.take(self._event(frame))
        except MalformedMessage:
            raise UpstreamError(Failure.BROKEN) from None

    def read(self, octets: bytes) -> Iterator[Event]:
        """Yield what a large frame says; raises UpstreamError."""
        yield from self._events.take(self._event(unpack(octets)))

    def save(self) -> bytes:
        """Return the state; raises UpstreamError."""
        return save(self._events)

    def restore(self, state: bytes) -> None:
        """Go on from a state that was saved."""
        self._events = restore(state, MessageEvents)

    def _event(self, frame: Frame) -> bytes:
        if frame.headers.get(":message-type") != "event":
            raise fault_in_stream(frame)
        try:
            return self._decoder.decode(frame.payload).bytes
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise UpstreamError(Failure.BROKEN) from None

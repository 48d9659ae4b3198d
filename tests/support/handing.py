"""A reader that hands over what is large to another one, which knows but its state."""

from collections.abc import Callable, Iterator

from enclave_server.chat.conversation import Event
from enclave_server.chat.dialects.amazon.frames import FrameParser
from enclave_server.chat.dialects.dialect import StreamReader
from protocol.event_stream import EventParser
from tests.support.meanings import meaning_of_stream


class Handing:
    """Reads every event with a reader that was made for it."""

    largest, kept = 0, 0

    def __init__(self, make: Callable[[], StreamReader]) -> None:
        self._make, self._reader = make, make()
        self._reader.largest = -1
        self.handed = 0

    def feed(self, piece: bytes) -> Iterator[Event]:
        for event in self._reader.feed(piece):
            assert event.large is not None
            self.handed += 1
            other = self._make()
            other.restore(self._reader.save())
            yield from other.read(event.large)
            self._reader.restore(other.save())

    def read(self, octets: bytes) -> Iterator[Event]:
        raise NotImplementedError

    def save(self) -> bytes:
        raise NotImplementedError

    def restore(self, state: bytes) -> None:
        raise NotImplementedError


def size_of_events(data: bytes) -> int:
    """Return the characters of the largest server-sent event."""
    return max(len(event.data) for event in EventParser().feed(data))


def size_of_frames(data: bytes) -> int:
    """Return the octets of the largest of Amazon's frames."""
    return max(len(frame.payload) for frame in FrameParser().feed(data))


def check_handing(make: Callable[[], StreamReader], data: bytes, size: int) -> None:
    """Check that another reader knows enough of a state, and what is handed over: above a size.

    `size` is that of the largest event in `data`.
    """
    handing = Handing(make)
    told = meaning_of_stream(handing, data)
    assert handing.handed > 2
    assert told == meaning_of_stream(make(), data)
    for largest, is_handed in ((size, False), (size - 1, True)):
        reader = make()
        reader.largest = largest
        assert any(event.large for event in reader.feed(data)) is is_handed

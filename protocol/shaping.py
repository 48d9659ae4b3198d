"""Answers in plaintext pieces of one size, so that their ciphertext shows nothing but its length.

At every tick of a clock that is kept elsewhere, exactly one piece comes out: a slice of one
indeterminate-length Binary HTTP response (RFC 9292, Section 3.2), filled up where there is
nothing to say yet. Until an answer begins, informational responses fill it; between
server-sent events, comments, which every parser passes over; after the end, Binary HTTP padding.
Elements need not end where a piece ends: when a gap is smaller than the smallest filler, the rest
of the filler goes before whatever comes in the next piece. So every gap is filled exactly.
"""

import enum
import math
import re
from dataclasses import dataclass

from protocol import varint
from protocol.binary_http import Fields, Response, ResponseHead, Trailers, field_value
from protocol.binary_http_fields import Framing, encode_fields
from protocol.chunked import CHUNK_SIZE
from protocol.registry import EVENT_STREAM, media_type

MAX_EVENT_SIZE = 1 << 20
"""Bytes of one server-sent event: an unfinished one is held back, since no filler fits inside."""

_END = b"\0"
_EMPTY_INTERIM = varint.encode(102) + _END
_INTERIM_START = varint.encode(102) + b"\x07padding"
_INTERIM_OVERHEAD = len(_INTERIM_START) + 2 + len(_END)  # with a two-byte length before the value
_SHORTEST_COMMENT = b":\n\n"
_ONE_BYTE_LENGTHS = 64
# Two line ends in a row. Atomic groups, for CR and LF of one CRLF are not two.
_EVENT_END = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")


class Mark(enum.Enum):
    """Whether pieces follow the one that it comes with."""

    CONTINUES = enum.auto()
    FINAL = enum.auto()


@dataclass(frozen=True, slots=True)
class GeometricSeries:
    """The tick counts that answers may have: `first`, then each `ratio` times the one before."""

    first: int
    ratio: float

    def __post_init__(self) -> None:
        if self.first < 1 or not 1 < self.ratio <= 16:
            raise ValueError("a series begins at 1 or more and grows by a ratio in (1, 16]")

    def reach(self, ticks: int) -> int:
        """Return the first count of the series that is not below `ticks`."""
        count = self.first
        while count < ticks:
            count = max(count + 1, math.ceil(count * self.ratio))
        return count


class _State(enum.Enum):
    AWAITED = enum.auto()  # no status yet
    GATHERED = enum.auto()  # not an event stream: sent when it is whole
    STREAMED = enum.auto()  # an event stream: sent event by event
    ENDED = enum.auto()  # everything is known; what waits goes out, then padding
    FINAL_SENT = enum.auto()


class AnswerShaper:
    """Turns one answer, as it happens, into pieces of `chunk_bytes`, as many as `series` allows."""

    __slots__ = ("_chunk_bytes", "_held", "_pending", "_series", "_start", "_state", "_ticks")

    def __init__(self, chunk_bytes: int, series: GeometricSeries) -> None:
        if not 1 <= chunk_bytes <= CHUNK_SIZE:
            raise ValueError(f"a piece has 1 to {CHUNK_SIZE} bytes")
        self._chunk_bytes = chunk_bytes
        self._series = series
        self._ticks = 0
        self._state = _State.AWAITED
        self._start = b""  # status and headers of an answer that is gathered
        self._held = bytearray()  # content that may not go out yet
        self._pending = bytearray(varint.encode(Framing.INDETERMINATE_LENGTH_RESPONSE))

    @property
    def waiting(self) -> int:
        """Bytes that the next ticks will send: above a few pieces, the source should pause.

        What waits for its own rest (an unfinished event, an answer that is gathered) is not in it.
        """
        return len(self._pending)

    def head(self, status: int, headers: Fields = ()) -> None:
        """Take the final status; text/event-stream content is then sent as it comes."""
        self._require(_State.AWAITED)
        head = ResponseHead(status, headers)
        start = varint.encode(head.status) + encode_fields(head.headers) + _END
        if media_type(field_value(headers, b"content-type")) == EVENT_STREAM:
            self._state = _State.STREAMED
            self._pending += start
        else:
            self._state = _State.GATHERED
            self._start = start

    def content(self, data: bytes) -> None:
        """Take some content, cut anywhere."""
        self._require(_State.GATHERED, _State.STREAMED)
        if self._state is _State.STREAMED and not self._held and data.endswith(b"\n\n"):
            self._send(data)  # without a copy in between: it may be an event of megabytes
            return
        self._held += data
        if self._state is _State.STREAMED:
            self._release_events()

    def end(self, trailers: Fields = ()) -> None:
        """Take the end of the answer; the remaining ticks send what waits, and padding."""
        self._require(_State.GATHERED, _State.STREAMED)
        last = _END + encode_fields(Trailers(trailers).fields) + _END
        self._pending += self._start
        self._release(len(self._held))
        self._pending += last
        self._state = _State.ENDED

    def answer(self, response: Response) -> None:
        """Take a whole answer at once."""
        self.head(response.status, response.headers)
        if self._state is _State.GATHERED:  # without a copy in between: it may be a long answer
            self._pending += self._start
            self._start = b""
            self._send(response.content)
        else:
            self.content(response.content)
        self.end(response.trailers)

    def tick(self) -> tuple[bytes, Mark]:
        """Return the next piece, of exactly the size that all have; ValueError after the final."""
        if self._state is _State.FINAL_SENT:
            raise ValueError("the final piece was sent before")
        self._ticks += 1
        while (gap := self._chunk_bytes - len(self._pending)) > 0:
            self._pending += self._filler(gap)
        piece = bytes(self._pending[: self._chunk_bytes])
        del self._pending[: self._chunk_bytes]
        if self._is_last():
            self._state = _State.FINAL_SENT
            return piece, Mark.FINAL
        return piece, Mark.CONTINUES

    def _is_last(self) -> bool:
        if self._state is not _State.ENDED or self._pending:
            return False
        return self._series.reach(self._ticks) == self._ticks

    def _filler(self, gap: int) -> bytes:
        if self._state is _State.ENDED:
            return bytes(gap)
        return _comment(gap) if self._state is _State.STREAMED else _interim(gap)

    def _release_events(self) -> None:
        """Let complete events go: a comment between two of them changes neither."""
        if self._held.endswith(b"\n\n"):
            self._release(len(self._held))
            return
        self._release(max((found.end() for found in _EVENT_END.finditer(self._held)), default=0))
        if len(self._held) > MAX_EVENT_SIZE:
            raise ValueError("a server-sent event is too long")

    def _send(self, data: bytes) -> None:
        if data:
            self._pending += varint.encode(len(data))
            self._pending += data

    def _release(self, size: int) -> None:
        if not size:
            return
        self._pending += varint.encode(size)
        if size == len(self._held):  # without a copy in between: it may be a whole long answer
            self._pending += self._held
            self._held = bytearray()
        else:
            self._pending += self._held[:size]
            del self._held[:size]

    def _require(self, *states: _State) -> None:
        if self._state not in states:
            raise ValueError(f"out of order: {self._state.name}")


def _interim(gap: int) -> bytes:
    """Return informational responses of `gap` bytes, or of at most two bytes more."""
    if gap < _INTERIM_OVERHEAD:
        return _EMPTY_INTERIM
    size = gap - _INTERIM_OVERHEAD
    return _INTERIM_START + varint.encode_sized(size, 2) + b"0" * size + _END


def _comment(gap: int) -> bytes:
    """Return a content chunk of `gap` bytes that is an SSE comment, or of at most three more."""
    if gap <= _ONE_BYTE_LENGTHS:
        length_size, size = 1, max(gap - 1, len(_SHORTEST_COMMENT))
    else:
        length_size, size = 2, gap - 2
    blank = b" " * (size - len(_SHORTEST_COMMENT))
    return varint.encode_sized(size, length_size) + b":" + blank + b"\n\n"

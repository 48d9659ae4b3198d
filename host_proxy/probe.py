"""One question whether the upstream lives: `GET /health` over a connection of its own."""

import re
import time
from collections.abc import Callable
from enum import Enum
from typing import Final

from host_proxy.addresses import Address
from host_proxy.loop import Loop
from host_proxy.question import Question
from host_proxy.resolver import Resolver

REQUEST: Final = b"GET /health HTTP/1.1\r\nHost: health\r\nConnection: close\r\n\r\n"
ANSWER_BYTES: Final = 4096  # a status line, a few fields and a word or two
STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")  # RFC 9112, Section 4


class Outcome(Enum):
    """What came of a question; the word in counters."""

    HEALTHY = "healthy"  # status 200
    UNHEALTHY = "unhealthy"  # another status, or closed in order: it lives and has too much to do
    MISSED = "missed"  # no connection, nothing in time, or nothing that is HTTP


class Probe:
    """A question under way; exactly one call to `done`, with the outcome and the seconds."""

    __slots__ = ("_begun", "_done", "_question")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        address: Address,
        seconds: float,
        done: Callable[[Outcome, float], None],
    ) -> None:
        self._done = done
        self._begun = time.monotonic()
        self._question = Question(
            loop,
            resolver,
            address,
            REQUEST,
            limit=ANSWER_BYTES,
            seconds=seconds,
            done=self._answered,
        )

    def start(self) -> None:
        """Ask; `done` may be called at once."""
        self._question.start()

    def ready(self, events: int) -> None:
        """Read what has come."""
        self._question.ready(events)

    def _answered(self, answer: bytes | None) -> None:
        outcome = Outcome.MISSED if answer is None else judge(answer)
        self._done(outcome, time.monotonic() - self._begun)


def judge(answer: bytes) -> Outcome:
    """Return what an answer, from its first byte to its end, tells of whoever gave it.

    None at all is how the server turns away what exceeds even its refusals: a flood must not have
    it taken for dead.
    """
    if not answer:
        return Outcome.UNHEALTHY
    status = STATUS_LINE.match(answer)
    if status is None:
        return Outcome.MISSED
    return Outcome.HEALTHY if status[1] == b"200" else Outcome.UNHEALTHY

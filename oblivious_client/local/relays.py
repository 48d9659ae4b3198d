"""Several relays: the next is asked when one does not answer, or serves no evidence or no list.

Each has its own evidence, verified by the same demands, and what is asked of it is sealed anew. A
question goes to another relay only where the first cannot have had it answered: nothing of it had
left. A 502 does not tell that: nginx says it too where a gateway took a request and then went away.
After a relay has been found silent another is asked first, so that the next question finds its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import httpx

from oblivious_client.errors import ClientError, OuterRefusal
from oblivious_client.exchange import Upload
from oblivious_client.exits import Exit
from oblivious_client.transport import UPLOAD, AsyncObliviousTransport
from protocol.evidence import VerifiedEvidence

T = TypeVar("T")


class Relays:
    """Asks by one of several routes, the first that answers."""

    def __init__(
        self, transports: Sequence[AsyncObliviousTransport], tell: Callable[[str], None]
    ) -> None:
        if not transports:
            raise ValueError("no relay")
        self._transports = tuple(transports)
        self._tell = tell
        self._first = 0  # which answered last

    @property
    def current(self) -> AsyncObliviousTransport:
        """The one that is asked first."""
        return self._transports[self._first]

    async def evidence(self) -> VerifiedEvidence:
        """Return verified evidence of the first relay that has some; raises ClientError."""
        return await self._through(AsyncObliviousTransport.evidence, Upload())

    async def ask(self, request: httpx.Request, upload: Upload) -> httpx.Response:
        """Return the opened answer of the first relay that has one; raises ClientError."""

        async def through(transport: AsyncObliviousTransport) -> httpx.Response:
            return await transport.handle_async_request(request)

        request.extensions[UPLOAD] = upload
        return await self._through(through, upload)

    async def aclose(self) -> None:
        """Close all connections."""
        for transport in self._transports:
            await transport.aclose()

    async def _through(
        self, ask: Callable[[AsyncObliviousTransport], Awaitable[T]], upload: Upload
    ) -> T:
        order = self._in_order()
        for number, following in pairwise(order):
            try:
                return self._kept(number, await ask(self._transports[number]))
            except ClientError as failure:
                if not may_ask_elsewhere(failure):
                    raise
                if upload.begun:
                    self._first = following
                    raise
                what = "does not answer" if is_silence(failure) else "is of no use"
                self._tell(f"{self._name(number)} {what} ({failure}): trying the next")
        return self._kept(order[-1], await ask(self._transports[order[-1]]))

    def _in_order(self) -> list[int]:
        count = len(self._transports)
        return [(self._first + step) % count for step in range(count)]

    def _kept(self, number: int, answer: T) -> T:
        """Ask this one first from now on."""
        if number != self._first:
            self._first = number
            self._tell(f"asking through {self._name(number)} from now on")
        return answer

    def _name(self, number: int) -> str:
        return str(self._transports[number].source.route.endpoint)


def may_ask_elsewhere(failure: ClientError) -> bool:
    """Whether another relay may do better: this one is silent, or has not what it has to serve."""
    is_of_document = isinstance(failure, OuterRefusal) and failure.is_of_document
    return is_of_document or is_silence(failure)


def is_silence(failure: ClientError) -> bool:
    """Whether a relay does not answer, so that another may.

    A gateway's own 503 comes through its relay; then another relay leads to the same gateway.
    """
    if isinstance(failure, OuterRefusal):
        return failure.is_silence
    return failure.code is Exit.NO_CONNECTION

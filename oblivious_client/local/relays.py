"""Several relays: the next is asked when one does not answer.

Each has its own evidence, verified by the same demands, and what is asked of it is sealed anew. A
question goes to another relay only where the first cannot have had it answered: nothing of it had
left, or the relay itself says that it did not reach its gateway. After a relay has been found
silent the one that answered is asked first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import httpx

from oblivious_client.errors import ClientError, OuterRefusal
from oblivious_client.exchange import Upload
from oblivious_client.exits import Exit
from oblivious_client.transport import UPLOAD, AsyncObliviousTransport
from protocol.evidence import VerifiedEvidence

T = TypeVar("T")

# What a relay answers of itself when it has not handed a request on.
_NOT_HANDED_ON = (502, 503)


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
        *others, last = self._in_order()
        for number in others:
            try:
                answer = await ask(self._transports[number])
            except ClientError as failure:
                if not is_silence(failure, upload):
                    raise
                self._tell(f"{self._name(number)} does not answer ({failure}): trying the next")
                upload.begun = False
            else:
                return self._kept(number, answer)
        return self._kept(last, await ask(self._transports[last]))

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


def is_silence(failure: ClientError, upload: Upload) -> bool:
    """Whether another relay may be asked: this one does not answer, and cannot have been answered.

    A gateway's own 503 comes through its relay; then another relay leads to the same gateway.
    """
    if isinstance(failure, OuterRefusal):
        return failure.is_silence and (not upload.begun or failure.status in _NOT_HANDED_ON)
    return failure.code is Exit.NO_CONNECTION and not upload.begun

"""A question with its token, sent and sent with another one; and streams whose end settles it.

A refusal is read to its end before anything follows, as every answer is that does not stream: who
asks again at once shows on the way that it was one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace

import anyio.to_thread
import httpx

from oblivious_client.errors import TokenRefused
from oblivious_client.exchange import Question
from oblivious_client.spending import Bill, Payment, StreamedPayment
from protocol.binary_http import ResponseHead, field_value


@dataclass(frozen=True, slots=True)
class Begun:
    """An answer that has begun: its head, and all content of one that does not stream."""

    head: ResponseHead
    early: bytes = field(repr=False)
    is_stream: bool
    response: httpx.Response


Ask = Callable[[Question], Begun]
AsyncAsk = Callable[[Question], Awaitable[Begun]]


def paid(bill: Bill, question: Question, ask: Ask) -> httpx.Response:
    """Ask with a token, and with others while they are refused; raises NoToken or TokenRefused."""
    while True:
        payment = bill.hold()
        try:
            begun = ask(_with(question, payment))
        except BaseException as error:
            payment.fail(error, question.upload)
            raise
        if begun.is_stream:
            stream = begun.response.stream
            if not isinstance(stream, httpx.SyncByteStream):
                raise TypeError("not a synchronous answer")
            begun.response.stream = PaidStream(stream, StreamedPayment(payment))
            return begun.response
        if not payment.read(begun.head, begun.early, question.upload):
            return begun.response
        begun.response.close()


async def apaid(bill: Bill, question: Question, ask: AsyncAsk) -> httpx.Response:
    """The asynchronous twin of `paid`; the wallet's disk is waited for in a thread."""
    while True:
        payment = await anyio.to_thread.run_sync(bill.hold)
        try:
            begun = await ask(_with(question, payment))
        except BaseException as error:
            payment.fail(error, question.upload)  # at once: nothing is awaited when cancelled
            raise
        if begun.is_stream:
            stream = begun.response.stream
            if not isinstance(stream, httpx.AsyncByteStream):
                raise TypeError("not an asynchronous answer")
            begun.response.stream = AsyncPaidStream(stream, StreamedPayment(payment))
            return begun.response
        if not await anyio.to_thread.run_sync(
            payment.read, begun.head, begun.early, question.upload
        ):
            return begun.response
        await begun.response.aclose()


def require_payable(begun: Begun) -> Begun:
    """Return an answer to a question without a token; TokenRefused if it wants one all the same.

    For a gateway whose evidence names no keys to buy one for.
    """
    if begun.head.status == 401 and field_value(begun.head.headers, b"www-authenticate"):
        raise TokenRefused(
            "the gateway wants a token, and its evidence names no issuer of any",
            advice="it is set up wrongly, or newer than this client: update, or tell its operator",
        )
    return begun


def _with(question: Question, payment: Payment) -> Question:
    question.upload.begun, question.upload.copies = False, 0  # of what was refused, nothing is done
    return replace(question, authorization=payment.authorization)


class PaidStream(httpx.SyncByteStream):
    """The content of an answer that was paid for; its end settles the payment."""

    def __init__(self, stream: httpx.SyncByteStream, payment: StreamedPayment) -> None:
        self._stream = stream
        self._payment = payment

    def __iter__(self) -> Iterator[bytes]:
        """Yield the content; raises as the stream does."""
        try:
            for data in self._stream:
                self._payment.take(data)
                yield data
        except GeneratorExit:
            self._payment.hang_up()
            raise
        except BaseException:
            self._payment.break_off()
            raise
        self._payment.end()

    def close(self) -> None:
        """Close the answer, which spends the token if it has not ended."""
        try:
            self._stream.close()
        finally:
            self._payment.hang_up()


class AsyncPaidStream(httpx.AsyncByteStream):
    """The asynchronous twin of PaidStream."""

    def __init__(self, stream: httpx.AsyncByteStream, payment: StreamedPayment) -> None:
        self._stream = stream
        self._payment = payment

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the content; raises as the stream does."""
        try:
            async for data in self._stream:
                self._payment.take(data)
                yield data
        except GeneratorExit:
            self._payment.hang_up()
            raise
        except Exception:
            self._payment.break_off()
            raise
        except BaseException:  # cancelled: whoever asked has had enough
            self._payment.hang_up()
            raise
        await anyio.to_thread.run_sync(self._payment.end)

    async def aclose(self) -> None:
        """Close the answer, which spends the token if it has not ended."""
        try:
            await self._stream.aclose()
        finally:
            self._payment.hang_up()

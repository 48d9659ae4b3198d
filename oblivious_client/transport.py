"""httpx transports that make any OpenAI SDK oblivious.

    client = OpenAI(http_client=httpx.Client(transport=ObliviousTransport(relay=URL)))

Whatever headers, cookies and account the SDK adds stay on this machine: only method, path
and body are sealed. Proxies of the environment are not used unless `proxy` names one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, closing
from typing import Unpack

import anyio
import httpx

from oblivious_client.advice import advising
from oblivious_client.errors import AnswerTruncated, AnswerUnreadable, ClientError, NoAnswer
from oblivious_client.events import EndKeeper
from oblivious_client.evidence import EvidenceSource
from oblivious_client.exchange import (
    Opened,
    Question,
    Upload,
    ask,
    content_in,
    head_in,
    is_sealed,
    refusal,
)
from oblivious_client.fetching import Flow, Pause, T, too_large
from oblivious_client.outer import BODY_LIMIT, AsyncOuterTransport, OuterTransport, watching
from oblivious_client.paying import Begun, apaid, paid, require_payable
from oblivious_client.route import Route, RouteOptions, route_of
from oblivious_client.sealing import Framing
from oblivious_client.spending import Bill, Purse, is_paid
from protocol.binary_http import Event, ResponseHead, field_value
from protocol.evidence import VerifiedEvidence
from protocol.registry import EVENT_STREAM, media_type

# Of sealing a question: a gateway that does not know the key has processed nothing.
TRIES = 2
# The extension of a request whose caller wants to know whether it has begun to leave.
UPLOAD = "oblivious_upload"
# A gateway says something at every tick of its clock, whatever its model does: who is silent for
# longer is not there. Unchunked answers come whole, when they come.
SILENCE_SECONDS = 60.0
# Evidence is about 8 KiB and problems are smaller.
CLEAR_BODY_LIMIT = 65536
# No answer of a language model comes near; a gateway that sends more is broken or hostile.
ANSWER_LIMIT = 256 * 1024 * 1024
# Fields of the inner answer that mean something to an SDK.
_PASSED = (b"content-type", b"retry-after", b"date", b"x-should-retry")


class ArrivingAnswer:
    """An opened answer in progress: its head, its content, the proof of its end."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.head: ResponseHead | None = None
        self._size = 0
        self._end = EndKeeper()

    def feed(self, data: bytes) -> bytes:
        """Return the content that `data` completes."""
        self._size += len(data)
        if self._size > ANSWER_LIMIT:
            raise too_large(self.opened.response.request.url)
        return self._end.pass_on(self._taken(self.opened.reader.feed(data)))

    def finish(self) -> bytes:
        """Return the last content; raises AnswerTruncated unless the end has verified."""
        last = self._taken(self.opened.reader.finish())
        if self.head is None:
            raise AnswerUnreadable("the sealed answer holds no response")
        return self._end.release() + last

    def begun(self, early: bytes, stream: AnswerStream | AsyncAnswerStream) -> Begun:
        """Return the answer as httpx knows it, with the evidence as an extension, and its head."""
        if self.head is None:
            raise ValueError("the answer has not begun")
        fields = [field for field in self.head.headers if field[0].lower() in _PASSED]
        extensions = {"oblivious_evidence": self.opened.evidence}
        response = httpx.Response(
            self.head.status, headers=fields, stream=stream, extensions=extensions
        )
        return Begun(self.head, early, _is_event_stream(self.head), response)

    @property
    def is_awaited(self) -> bool:
        """Whether more has to come before the caller may have the answer.

        An answer that is no stream is handed over at its end: whoever wants to try again after an
        error hangs up at once, which would show everybody on the way that it was one.
        """
        return self.head is None or not _is_event_stream(self.head)

    def _taken(self, events: list[Event]) -> bytes:
        self.head = self.head or head_in(events)
        return content_in(events)


class AnswerStream(httpx.SyncByteStream):
    """The content of an answer; only an iteration that ends by itself has seen all of it."""

    def __init__(self, outer: httpx.Response, early: bytes, later: Iterator[bytes]) -> None:
        self._outer = outer
        self._early = early
        self._later = later

    def __iter__(self) -> Iterator[bytes]:
        """Yield content as it verifies; raises AnswerTruncated if the end is missing."""
        yield self._early
        yield from self._later

    def close(self) -> None:
        """Close the connection if the answer is still under way: the gateway stops then."""
        self._outer.close()


class AsyncAnswerStream(httpx.AsyncByteStream):
    """The asynchronous twin of AnswerStream."""

    def __init__(self, outer: httpx.Response, early: bytes, later: AsyncIterator[bytes]) -> None:
        self._outer = outer
        self._early = early
        self._later = later

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield content as it verifies; raises AnswerTruncated if the end is missing."""
        yield self._early
        async for content in self._later:
            yield content

    async def aclose(self) -> None:
        """Close the connection if the answer is still under way: the gateway stops then."""
        await self._outer.aclose()


class ObliviousTransport(httpx.BaseTransport):
    """Sends every request sealed, to keys that have verified."""

    def __init__(self, relay: Route | str | None = None, **options: Unpack[RouteOptions]) -> None:
        self.route = route_of(relay, options)
        self.source = EvidenceSource(self.route)
        self._outer = OuterTransport(self.route)
        self._purse = Purse(self.route.wallet, self.route.most, self.route.words)
        self._renewal = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the opened answer; raises EvidenceRefused or NoToken before anything is sent."""
        question = _question(self.route, request, request.read())
        if not is_paid(question.path):
            return self._begun(question).response
        evidence = self.evidence()
        bill = _bill(self._purse, evidence, question)
        if bill is not None:
            return paid(bill, question, self._begun)
        begun = self._begun(question)
        return (begun if evidence.catalogue else require_payable(begun)).response

    def _begun(self, question: Question) -> Begun:
        opened = self._ask(question)
        try:
            return _begin(ArrivingAnswer(opened))
        except BaseException:
            opened.response.close()
            raise

    def evidence(self) -> VerifiedEvidence:
        """Return verified evidence; fetched once for all that wait; raises EvidenceRefused."""
        kept, renewals = self.source.kept(), self.source.renewals
        if kept is not None:
            return kept
        with self._renewal:
            return self.run(self.source.shared(renewals))

    def run(self, flow: Flow[T]) -> T:
        """Run `flow`, sending each of its requests."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    response = self._send(step)
                except Exception as failure:
                    step = flow.throw(failure)
                else:
                    step = flow.send(response)
        except StopIteration as done:
            value: T = done.value
            return value

    def _ask(self, question: Question) -> Opened:
        """Ask, and once more with new evidence if the gateway does not know the key."""
        for _ in range(TRIES):
            evidence = self.evidence()
            asked = self.run(ask(self.route, question, evidence, now=self.source.clock()))
            if isinstance(asked, Opened):
                self.source.accept(evidence)
                return asked
            self.source.refuse(evidence, is_key_due=asked.is_key_due)
        raise refusal(asked.response, self.route.endpoint.role)

    def close(self) -> None:
        """Close all connections."""
        self._outer.close()

    def _send(self, request: httpx.Request) -> httpx.Response:
        with watching(request), _advising(self.route, self.source):
            response = self._outer.handle_request(request)
            response.request = request
            if is_sealed(response):
                return response
            body, limit = bytearray(), request.extensions.get(BODY_LIMIT, CLEAR_BODY_LIMIT)
            with closing(response):
                for data in response.iter_raw():
                    body += data
                    if len(body) > limit:
                        raise too_large(request.url)
            return _loaded(response, bytes(body))


class AsyncObliviousTransport(httpx.AsyncBaseTransport):
    """The asynchronous twin of ObliviousTransport."""

    def __init__(self, relay: Route | str | None = None, **options: Unpack[RouteOptions]) -> None:
        self.route = route_of(relay, options)
        self.source = EvidenceSource(self.route)
        self._outer = AsyncOuterTransport(self.route)
        self._purse = Purse(self.route.wallet, self.route.most, self.route.words)
        self._renewal = anyio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Return the opened answer; raises EvidenceRefused or NoToken before anything is sent."""
        question = _question(self.route, request, await request.aread())
        if not is_paid(question.path):
            return (await self._begun(question)).response
        evidence = await self.evidence()
        bill = _bill(self._purse, evidence, question)
        if bill is not None:
            return await apaid(bill, question, self._begun)
        begun = await self._begun(question)
        return (begun if evidence.catalogue else require_payable(begun)).response

    async def _begun(self, question: Question) -> Begun:
        opened = await self._ask(question)
        try:
            return await _abegin(ArrivingAnswer(opened))
        except BaseException:
            await opened.response.aclose()
            raise

    async def evidence(self) -> VerifiedEvidence:
        """Return verified evidence; fetched once for all that wait; raises EvidenceRefused."""
        kept, renewals = self.source.kept(), self.source.renewals
        if kept is not None:
            return kept
        async with self._renewal:
            return await self.run(self.source.shared(renewals))

    async def run(self, flow: Flow[T]) -> T:
        """Run `flow`, sending each of its requests."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await anyio.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    response = await self._send(step)
                except Exception as failure:
                    step = flow.throw(failure)
                else:
                    step = flow.send(response)
        except StopIteration as done:
            value: T = done.value
            return value

    async def _ask(self, question: Question) -> Opened:
        """Ask, and once more with new evidence if the gateway does not know the key."""
        for _ in range(TRIES):
            evidence = await self.evidence()
            asked = await self.run(ask(self.route, question, evidence, now=self.source.clock()))
            if isinstance(asked, Opened):
                self.source.accept(evidence)
                return asked
            self.source.refuse(evidence, is_key_due=asked.is_key_due)
        raise refusal(asked.response, self.route.endpoint.role)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._outer.aclose()

    async def _send(self, request: httpx.Request) -> httpx.Response:
        with watching(request), _advising(self.route, self.source):
            response = await self._outer.handle_async_request(request)
            response.request = request
            if is_sealed(response):
                return response
            body, limit = bytearray(), request.extensions.get(BODY_LIMIT, CLEAR_BODY_LIMIT)
            try:
                async for data in response.aiter_raw():
                    body += data
                    if len(body) > limit:
                        raise too_large(request.url)
            finally:
                await response.aclose()
            return _loaded(response, bytes(body))


def _question(route: Route, request: httpx.Request, body: bytes) -> Question:
    timeout = dict(request.extensions.get("timeout") or {})
    if route.framing is Framing.CHUNKED:
        given = timeout.get("read")
        timeout["read"] = SILENCE_SECONDS if given is None else min(given, SILENCE_SECONDS)
    path = request.url.raw_path.partition(b"?")[0]
    upload = request.extensions.get(UPLOAD) or Upload()
    return Question(request.method, path, body, {"timeout": timeout}, upload)


def _advising(route: Route, source: EvidenceSource) -> AbstractContextManager[None]:
    return advising(route.endpoint, route.proxy, is_known=source.has_verified)


def _loaded(response: httpx.Response, body: bytes) -> httpx.Response:
    return httpx.Response(
        response.status_code, headers=response.headers, content=body, request=response.request
    )


def _is_event_stream(head: ResponseHead) -> bool:
    return media_type(field_value(head.headers, b"content-type")) == EVENT_STREAM


def _bill(purse: Purse, evidence: VerifiedEvidence, question: Question) -> Bill | None:
    if evidence.catalogue is None:
        return None
    return purse.bill(evidence.catalogue, question.path.decode("ascii", "replace"), question.body)


def _begin(answer: ArrivingAnswer) -> Begun:
    outer = answer.opened.response
    contents = _contents(outer, answer)
    early = bytearray()
    while answer.is_awaited and (content := next(contents, None)) is not None:
        early += content
    return answer.begun(bytes(early), AnswerStream(outer, bytes(early), contents))


def _contents(outer: httpx.Response, answer: ArrivingAnswer) -> Iterator[bytes]:
    try:
        for data in outer.iter_raw():
            yield answer.feed(data)
    except ClientError:
        raise
    except httpx.TimeoutException as error:
        raise NoAnswer from error
    except httpx.TransportError as error:
        raise AnswerTruncated from error
    yield answer.finish()


async def _abegin(answer: ArrivingAnswer) -> Begun:
    outer = answer.opened.response
    contents = _acontents(outer, answer)
    early = bytearray()
    while answer.is_awaited and (content := await anext(contents, None)) is not None:
        early += content
    return answer.begun(bytes(early), AsyncAnswerStream(outer, bytes(early), contents))


async def _acontents(outer: httpx.Response, answer: ArrivingAnswer) -> AsyncIterator[bytes]:
    try:
        async for data in outer.aiter_raw():
            yield answer.feed(data)
    except ClientError:
        raise
    except httpx.TimeoutException as error:
        raise NoAnswer from error
    except httpx.TransportError as error:
        raise AnswerTruncated from error
    yield answer.finish()

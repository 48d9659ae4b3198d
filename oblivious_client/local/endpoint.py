"""A local OpenAI-compatible endpoint: any OpenAI program becomes oblivious by its base URL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx

from oblivious_client import release_report
from oblivious_client.answers import check_signature
from oblivious_client.client import TIMEOUT, evidence_of
from oblivious_client.errors import ClientError, NoToken, TokenRefused
from oblivious_client.exchange import Upload, content_type
from oblivious_client.local.access import (
    Access,
    carries,
    is_preflight,
    preflight_fields,
)
from oblivious_client.local.http import Service
from oblivious_client.local.messages import Fields, Handled, LocalRequest, LocalResponse
from oblivious_client.local.page import FILES, page
from oblivious_client.local.passing import Fault, Passing
from oblivious_client.local.refusals import (
    JSON_FIELDS,
    ONCE,
    fault_of,
    refuse,
    refuse_unpaid,
    refuse_unreadable,
)
from oblivious_client.local.relays import Relays
from oblivious_client.local.surfaces import EVIDENCE, HEALTH, STOP, Resource, find
from oblivious_client.local.waiting import Alive, Waiting, at_once
from oblivious_client.references import References
from oblivious_client.report import as_json
from protocol.registry import EVENT_STREAM, JSON, media_type

# Each takes two descriptors, of the 1,024 that a program usually has.
MAX_CONNECTIONS = 400
# Above them: so many are told to come back, and more than that find nobody.
MAX_REFUSALS = 32

_EVENTS: Fields = (
    (b"content-type", EVENT_STREAM + b"; charset=utf-8"),
    (b"cache-control", b"no-store"),
)
_COME_BACK: Fields = ((b"retry-after", b"1"), (b"connection", b"close"))
_BEARER: Fields = ((b"www-authenticate", b"Bearer"),)
_NOT_STREAMED = Fault("the service answered in one piece where a stream was asked for")


class LocalEndpoint:
    """Seals what local programs ask and opens what comes back."""

    def __init__(
        self,
        relays: Relays,
        access: Access = Access(),  # noqa: B008 - it is frozen
        *,
        most: int = MAX_CONNECTIONS,
        refusals: int = MAX_REFUSALS,
        tell: Callable[[Handled], None] = lambda handled: None,
    ) -> None:
        self._relays, self._references = relays, References()
        self._access = access
        self._tell = tell
        self.most, self.refusals = most, refusals
        self.connections = 0
        """How many programs are connected."""
        self.control: bytes | None = None
        """What `serve status` and `serve stop` show of themselves."""
        self.stop = asyncio.Event()
        """Set once it has been told to stop."""

    @property
    def service(self) -> Service:
        """What a connection is served with."""
        return Service(self.handle, self.admit, refuse_unreadable, self._tell)

    def admit(self, head: LocalRequest) -> LocalResponse | None:
        """Return the answer to a request whose body nobody wants, or None."""
        refusal = self._turned_away(head)
        return refusal and refusal.beside(self._access.fields_for(head))

    async def handle(self, request: LocalRequest) -> LocalResponse:
        """Answer one request of a local program that was admitted."""
        answer = await self._answer(request)
        return answer.beside(self._access.fields_for(request))

    def _turned_away(self, head: LocalRequest) -> LocalResponse | None:
        if self.connections > self.most:
            fault = Fault("too many programs at once", "too_many_connections")
            return refuse(head, 503, fault, _COME_BACK)
        resource = find(head.path)
        refusal = self._access.refusal(head)
        if refusal is not None and not (refusal.status == 401 and self._is_own(head, resource)):
            more = _BEARER if refusal.status == 401 else ()
            return refuse(head, refusal.status, Fault(refusal.message, refusal.code), more)
        if is_preflight(head) and self._access.allowed_origin(head) is not None:
            return None
        if resource is None:
            return refuse(head, 404, Fault(f"there is nothing at {head.path}", "not_found"))
        if head.method not in resource.methods:
            allowed = ", ".join(resource.methods)
            fault = Fault(f"{resource.path} takes {allowed}", "method_not_allowed")
            return refuse(head, 405, fault, ((b"allow", allowed.encode()),))
        if resource.path == STOP and not self._is_own(head, resource):
            return refuse(head, 403, Fault("use `oblivious-client serve stop`", "not_allowed"))
        return _wrong_type(head) if resource.is_sealed and resource.methods == ("POST",) else None

    def _is_own(self, head: LocalRequest, resource: Resource | None) -> bool:
        """Whether a command of this program asks, which knows what only this user can read."""
        if self.control is None or resource is None or resource.path not in (HEALTH, STOP):
            return False
        return carries(head, self.control)

    async def _answer(self, request: LocalRequest) -> LocalResponse:
        resource = find(request.path)
        if is_preflight(request) or resource is None:
            return LocalResponse(204, preflight_fields(request), b"")
        if resource.is_sealed:
            return await self._ask(request, resource)
        if resource.path in FILES:
            return page(resource.path)
        if resource.path == EVIDENCE:
            return await self._evidence(request)
        if resource.path == STOP:
            self.stop.set()
        return self._health()

    def _health(self) -> LocalResponse:
        """Say whether it runs and what it knows, without asking anybody."""
        source = self._relays.current.source
        told = {
            "status": "ok",
            "evidence": "verified" if source.has_verified else "not yet",
            "address": str(source.route.endpoint),
            "connections": self.connections,
        }
        return LocalResponse(200, JSON_FIELDS, json.dumps(told).encode())

    async def _evidence(self, request: LocalRequest) -> LocalResponse:
        try:
            verified = await self._relays.evidence()
            source = self._relays.current.source
            now, releases = source.clock(), source.route.releases
            report = {
                **as_json(verified, source.policy, source.route.endpoint, now=now),
                **release_report.json_of(releases, verified, now),
                "warnings": list(release_report.warnings(source, now)),
            }
        except ClientError as failure:
            return refuse(request, 502, fault_of(failure))
        return LocalResponse(200, JSON_FIELDS, json.dumps(report).encode())

    async def _ask(self, request: LocalRequest, resource: Resource) -> LocalResponse:
        """Ask the gateway, and a stream's answer is begun while it is still asked."""
        asking = asyncio.ensure_future(self._asked(request, resource))
        passing = None if resource.asked is None else resource.asked.passing
        if passing is None or not wants_stream(request.body):
            return await asking
        response = await at_once(asking)
        if response is None:
            waiting = Waiting(asking, lambda late: passing().fail(_fault_in(late)))
            return LocalResponse(200, _EVENTS, Alive(waiting))
        if isinstance(response.body, bytes):
            return response
        return LocalResponse(response.status, response.fields, Alive(response.body))

    async def _asked(self, request: LocalRequest, resource: Resource) -> LocalResponse:
        upload = Upload()
        try:
            return await self._sealed(request, resource, upload)
        except (NoToken, TokenRefused) as failure:
            return refuse_unpaid(request, failure)
        except ClientError as failure:
            # Asked again by itself, an SDK would have the question answered, and paid for, twice.
            once = ONCE if upload.begun and resource.asked is not None else ()
            return refuse(request, 502, fault_of(failure), once)

    async def _sealed(
        self, request: LocalRequest, resource: Resource, upload: Upload
    ) -> LocalResponse:
        # The host is never sent: the enclave sees method, path and body.
        body = self._references.resolve(request.body)
        outer = httpx.Request(
            resource.methods[0],
            f"https://sealed.invalid{resource.path}",
            content=body,
            extensions={"timeout": TIMEOUT.as_dict()},
        )
        response = await self._relays.ask(outer, upload)
        asked, is_good = resource.asked, response.status_code == httpx.codes.OK
        if is_good and asked and asked.passing and content_type(response) == EVENT_STREAM.decode():
            events = Checked(body, response, asked.passing(), self._references)
            return LocalResponse(200, _EVENTS, events)
        try:
            data = await response.aread()
        finally:
            await response.aclose()
        if is_good and asked is not None:
            asked.check(evidence_of(response), body, answer := asked.read(data))
            self._references.keep(answer)
        return LocalResponse(response.status_code, _passed(response), data)


class Checked:
    """The events of an answer without the padding; the end only after the signature has verified.

    A failure becomes an error event, and then the connection breaks: no program can take
    what came before for the whole.
    """

    def __init__(
        self, request: bytes, response: httpx.Response, passing: Passing, references: References
    ) -> None:
        self._request = request
        self._response = response
        self._passing = passing
        self._references = references

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the events; ConnectionAbortedError behind a failure."""
        passing, response = self._passing, self._response
        try:
            async for data in response.aiter_bytes():
                if events := passing.take(data):
                    yield events
            check_signature(evidence_of(response), self._request, answer := passing.finish())
            self._references.keep(answer)
            yield passing.end()
        except ClientError as failure:
            yield passing.fail(fault_of(failure))
            raise ConnectionAbortedError from failure
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Stop the answer: the gateway stops generating."""
        await self._response.aclose()


def wants_stream(body: bytes) -> bool:
    """Whether a question asks for its answer in a stream."""
    if b'"stream"' not in body:
        return False
    try:
        question = json.loads(body)
    except (ValueError, RecursionError):
        return False  # which the gateway says
    return isinstance(question, dict) and question.get("stream") is True


def _wrong_type(head: LocalRequest) -> LocalResponse | None:
    """Return the answer to a body that is no JSON; one without a type is taken for it."""
    coding = (head.field(b"content-encoding") or "identity").lower()
    given = (head.field(b"content-type") or "").encode("latin-1")
    if head.count(b"content-encoding") > 1 or coding != "identity":
        return refuse(
            head, 415, Fault("send the question as it is, not compressed", "content_encoding")
        )
    if head.count(b"content-type") > 1 or (given and media_type(given) != JSON):
        return refuse(head, 415, Fault("send content-type: application/json", "content_type"))
    return None


def _passed(response: httpx.Response) -> Fields:
    """Return the fields that an SDK acts on."""
    names = ("retry-after", "x-should-retry")
    found = [(name, response.headers[name]) for name in names if name in response.headers]
    return (*JSON_FIELDS, *((name.encode(), value.encode("ascii")) for name, value in found))


def _fault_in(response: LocalResponse) -> Fault:
    """Return what an answer in one piece says of a failure, be it of OpenAI's shape or another."""
    try:
        error = json.loads(response.body if isinstance(response.body, bytes) else b"")["error"]
        message, kind, code = (error.get(name) for name in ("message", "type", "code"))
        return Fault(str(message), code and str(code), kind and str(kind))
    except (ValueError, LookupError, TypeError, AttributeError):
        return _NOT_STREAMED

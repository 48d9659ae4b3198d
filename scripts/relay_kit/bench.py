"""The relay under test between its two ends, and how a check uses them."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from scripts.relay_kit.calls import Call, Request, Target
from scripts.relay_kit.http1 import Fields, Head, nothing
from scripts.relay_kit.recording import Exchange, Gateway

WHOLE = "message/ohttp-req"
CHUNKED = "message/ohttp-chunked-req"


class CheckError(Exception):
    """A property does not hold; the message says what was seen instead."""


def require(holds: object, otherwise: str) -> None:
    """Raise CheckError with `otherwise` unless it holds."""
    if not holds:
        raise CheckError(otherwise)


@dataclass(frozen=True, slots=True)
class Answer:
    """A relay's answer; `whole` is false if its body ended before its end."""

    status: int
    head: Head
    body: bytes
    whole: bool


Caller = Callable[[Target, Request], Awaitable[Call]]


async def receive(call: Call) -> Answer:
    """Return the whole answer."""
    head = await call.head()
    body, whole = b"", True
    try:
        async for data in call.body():
            body += data
    except (EOFError, OSError):
        whole = False
    return Answer(head.status, head, body, whole)


class Bench:
    """The relay between its two ends."""

    def __init__(self, target: Target, gateway: Gateway, caller: Caller) -> None:
        self.target = target
        self.gateway = gateway
        self.caller = caller
        self.resource = ""  # the gateway's resource that the relay sends sealed requests to

    async def begin(self, method: str, path: str, fields: Fields) -> Call:
        """Begin a request through the relay on a connection of its own."""
        return await self.caller(self.target, Request(method, path, fields))

    async def ask(
        self, method: str, path: str, fields: Fields = (), body: bytes | None = None
    ) -> Answer:
        """Send a whole request through the relay."""
        size = [] if body is None else [("Content-Length", str(len(body)))]
        call = await self.begin(method, path, [*fields, *size])
        try:
            if body is not None:
                with suppress(ConnectionError):  # a refusal may come before the body has gone
                    await call.send(body)
                    await call.end()
            return await receive(call)
        except (EOFError, OSError):
            return Answer(0, nothing(), b"", False)  # closed without an answer
        finally:
            call.close()

    async def post(self, body: bytes, kind: str = WHOLE, fields: Fields = ()) -> Answer:
        """Send a sealed request."""
        return await self.ask("POST", self.target.path, [("Content-Type", kind), *fields], body)

    async def open_upload(self) -> Call:
        """Begin a request whose length is not known."""
        fields = [("Content-Type", CHUNKED), ("Transfer-Encoding", "chunked")]
        return await self.begin("POST", self.target.path, [*fields, ("Incremental", "?1")])

    async def nothing_arrives(self, method: str, path: str, kind: str | None) -> Answer:
        """Send a request that must not reach the gateway."""
        before = len(self.gateway.arrivals)
        fields = [] if kind is None else [("Content-Type", kind)]
        answer = await self.ask(method, path, fields, None if method == "GET" else b"sealed")
        arrived = self.gateway.arrivals[before:]
        require(not arrived, f"{method} {path} {kind or ''} reached the gateway")
        return answer

    def last(self) -> Exchange:
        """Return the latest arrival."""
        require(self.gateway.arrivals, "nothing arrived at the gateway")
        return self.gateway.arrivals[-1]

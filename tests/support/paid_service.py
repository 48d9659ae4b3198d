"""A chat service whose models are paid for, over a stand-in upstream and a store to choose."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from enclave_server.addresses import parse_address
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.endpoint import Upstream
from enclave_server.payment.gate import Gate
from enclave_server.payment.lifetimes import Lifetimes
from enclave_server.payment.memory_store import MemoryStore
from enclave_server.payment.nullifier import LABEL
from enclave_server.payment.redis_store import RedisStore
from enclave_server.payment.store import Store
from enclave_server.payment.tally import Tally
from enclave_server.shared_table import SharedTable
from protocol.binary_http import Request, Response
from protocol.gateway import Answer, Delivery, StreamedResponse, settled
from protocol.signature import SigningKeys
from tests.support.minting import TARIFF, Mint, epochs_around
from tests.support.upstream import StandInUpstream

NOW = 4_000_000_000.0
"""Far ahead: a real store forgets at once what is to be kept until some time in the past."""

LEASE = 660
KEYS = SigningKeys.generate()
MINT = Mint(epochs_around(NOW))
LIFETIMES = Lifetimes(LEASE, MINT.epochs)
MODELS = {"m": TARIFF, "e": TARIFF}
DEADLINE = 120.0

PATHS = (
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/messages",
    b"/v1/responses",
    b"/v1/embeddings",
)
QUESTIONS: Mapping[bytes, dict[str, Any]] = {
    PATHS[0]: {"model": "m", "messages": [{"role": "user", "content": "Hello"}]},
    PATHS[1]: {"model": "m", "prompt": "Hello"},
    PATHS[2]: {
        "model": "m",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Hello"}],
    },
    PATHS[3]: {"model": "m", "input": "Hello"},
    PATHS[4]: {"model": "e", "input": "Hello"},
}


class Clock:
    """A time that a test moves."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class CountingStore:
    """Counts what a store is asked to do, and passes it on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.done: list[str] = []

    async def hold(self, nullifier: bytes) -> bytes:
        self.done.append("hold")
        return await self._store.hold(nullifier)

    def commit(self, nullifier: bytes, ticket: bytes) -> None:
        self.done.append("commit")
        self._store.commit(nullifier, ticket)

    def give_back(self, nullifier: bytes, ticket: bytes, after: float = 0.0) -> None:
        self.done.append(f"give back after {after:g}")
        self._store.give_back(nullifier, ticket, after)

    async def close(self) -> None:
        self.done.append("close")
        await self._store.close()


class Counted:
    """A tally that a test reads."""

    def __init__(self) -> None:
        self.told: list[Mapping[str, int]] = []
        self.tally = Tally(self.told.append)

    @property
    def counts(self) -> dict[str, int]:
        """All that was counted, and not told yet."""
        return {outcome.value: count for outcome, count in self.tally._counts.items()}


def memory_store(clock: Callable[[], float], capacity: int = 1000) -> MemoryStore:
    """Return a store of its own."""
    return MemoryStore(SharedTable("tokens", capacity), LIFETIMES, clock)


def redis_store(address: str, clock: Callable[[], float] | None = None) -> RedisStore:
    """Return a store at an address."""
    return RedisStore(parse_address(address), LIFETIMES, clock=clock or Clock())


class PaidService:
    """A chat service, and what stands around it."""

    def __init__(
        self,
        upstream: StandInUpstream,
        store: Store | None = None,
        clock: Clock | None = None,
        **changes: Any,
    ) -> None:
        self.clock = clock or Clock()
        self.store = CountingStore(store or memory_store(self.clock))
        self.counted = Counted()
        self.gate = Gate(
            MINT.catalogue(MODELS),
            self.store,
            lambda: LABEL,
            self.counted.tally,
            clock=self.clock,
        )
        place = Upstream("u", parse_address(upstream.address), **changes)
        models = (
            Model("m", place, "there", tariff=TARIFF, profile=place.profile),
            Model("free", place, "there"),
            Model("e", place, "there", embeddings=True, tariff=TARIFF),
        )
        self.chat = ChatService(ModelTable(models), lambda: KEYS, clock=self.clock, gate=self.gate)

    async def ask(
        self,
        *fields: tuple[bytes, bytes],
        path: bytes = PATHS[0],
        delivery: Delivery = Delivery.WHOLE,
        **changes: Any,
    ) -> Answer:
        """Ask the question of a path, changed, with these fields."""
        body = json.dumps({**QUESTIONS[path], **changes}).encode()
        headers = ((b"content-type", b"application/json"), *fields)
        request = Request(b"POST", b"https", b"gateway", path, headers, body)
        async with asyncio.timeout(DEADLINE):
            return await settled(self.chat.dispatch(request, delivery))

    async def whole(self, *fields: tuple[bytes, bytes], **options: Any) -> Response:
        """Ask, and return a whole answer."""
        answer = await self.ask(*fields, **options)
        assert isinstance(answer, Response)
        return answer

    async def stream(self, *fields: tuple[bytes, bytes], **options: Any) -> bytes:
        """Ask for a stream, and return all of it."""
        answer = await self.ask(*fields, delivery=Delivery.CHUNKED, stream=True, **options)
        assert isinstance(answer, StreamedResponse)
        return b"".join([piece async for piece in answer.content])

    async def close(self) -> None:
        """Let go of everything."""
        self.chat.close()
        await self.gate.close()


def code_of(answer: Response) -> str | None:
    """Return the code of an error."""
    error = json.loads(answer.content).get("error", {})
    code = error.get("code")
    return None if code is None else str(code)


def told(answer: Response, name: bytes) -> bytes | None:
    """Return the value of a field."""
    return dict(answer.headers).get(name)

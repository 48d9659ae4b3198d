"""What of a payment is seen: by the relay, of sizes; by the host, of all that its store is told."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.paying import pay
from enclave_server.chat.preparing import SURFACES
from enclave_server.gateway.pacing import Pacer, Shape
from enclave_server.payment import redis_store as redis_module
from enclave_server.payment import settling
from enclave_server.payment.gate import Gate
from enclave_server.payment.nullifier import LABEL, nullifier
from enclave_server.payment.redis_store import RedisStore
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.tokens_table import MAX_NAMED
from protocol import chunked
from protocol.binary_http import Request, decode_response, encode_request, encode_response
from protocol.encapsulation import GatewayKey, encapsulate_request
from protocol.gateway import Gateway
from protocol.padding import SMALLEST_BUCKET, bucket, pad
from protocol.private_token import Token
from protocol.shaping import GeometricSeries
from protocol.signature import ASKED_FIELD
from scripts.local.stack import ROOT
from tests.support.hostile_store import read_command
from tests.support.minting import paying_with
from tests.support.paid_service import (
    MINT,
    MODELS,
    PATHS,
    QUESTIONS,
    Clock,
    Counted,
    PaidService,
    memory_store,
    redis_store,
)
from tests.support.private_tokens import PRICES
from tests.support.redis_server import redis_server
from tests.support.upstream import (
    Behaviour,
    Exchange,
    StandInUpstream,
    answering,
    hanging_up,
    sending,
    silent,
    stream_of,
    streaming_then_closing,
)

KEY = GatewayKey.generate(1)
REQUESTS = 200
Fields = tuple[tuple[bytes, bytes], ...]


def inner(fields: Fields, **changes: Any) -> bytes:
    """Return a padded request, as a client seals it."""
    body = json.dumps({**QUESTIONS[PATHS[0]], **changes}).encode()
    headers = ((b"content-type", b"application/json"), ASKED_FIELD, *fields)
    return pad(encode_request(Request(b"POST", b"https", b"gateway", PATHS[0], headers, body)))


# What the relay sees.


def test_a_short_request_has_one_size_whatever_it_pays() -> None:
    fields: list[Fields] = [(), *((MINT.field(price),) for price in PRICES)]
    sizes = {len(encapsulate_request(KEY.config, inner(each))[0]) for each in fields}
    assert len(sizes) == 1


@pytest.mark.parametrize("size", [1, 300, 2000, 20_000])
def test_the_price_never_changes_the_bucket(size: int) -> None:
    sizes = {len(inner((MINT.field(price),), user="x" * size)) for price in PRICES}
    assert len(sizes) == 1


def test_a_token_makes_every_request_longer_by_as_much() -> None:
    token = len(MINT.field()[1])
    assert token == 491
    for size in (1, 300, 2000):
        without = len(encode_request(Request(b"POST", b"https", b"g", b"/", (), b"x" * size)))
        assert len(inner((MINT.field(),), user="x" * size)) <= bucket(without + token + 600)


async def presented(service: PaidService, case: str) -> Fields:
    """Return the fields of one case, in the state in which they are refused."""
    token = MINT.token()
    match case:
        case "nothing":
            return ()
        case "invalid":
            return (paying_with(MINT.token(digest=bytes(32))),)
        case "expired":
            service.clock.now = MINT.epochs[0].redeem_until + 301
        case "spent":
            await service.whole(paying_with(token))
        case "in use":
            await service.gate.hold(service.gate.look((paying_with(token),)), PRICES[0])
        case "unavailable":

            async def fail(nullifier: bytes) -> bytes:
                raise Refused(Refusal.UNAVAILABLE)

            service.store.hold = fail  # type: ignore[method-assign]
    return (paying_with(token),)


CASES: dict[str, tuple[str, dict[str, Any], Behaviour, int]] = {
    "answered": ("good", {}, answering("Paris."), 200),
    "nothing": ("nothing", {}, answering(), 401),
    "invalid": ("invalid", {}, answering(), 401),
    "expired": ("expired", {}, answering(), 401),
    "spent": ("spent", {}, answering(), 401),
    "too small": ("good", {"max_tokens": 600}, answering(), 402),
    "too large": ("good", {"max_tokens": 1 << 30}, answering(), 400),
    "in use": ("in use", {}, answering(), 409),
    "unavailable": ("unavailable", {}, answering(), 503),
    "upstream gone": ("good", {}, hanging_up, 502),
    "upstream refuses": ("good", {}, sending(429, {}), 429),
    "rejected": ("good", {}, sending(400, {}), 400),
    "garbage": ("good", {}, sending(200, b"{"), 502),
}


def test_a_short_answer_and_every_refusal_have_one_size() -> None:
    async def size_of(name: str) -> int:
        case, changes, behaviour, status = CASES[name]
        async with StandInUpstream(behaviour) as upstream:
            service = PaidService(upstream)
            fields = await presented(service, case)
            gateway = Gateway(lambda: [KEY], service.chat.dispatch)
            sealed, context = encapsulate_request(KEY.config, inner(fields, **changes))
            answer = await gateway.answer(sealed)
            assert decode_response(context.open_response(answer)).status == status, name
            await service.close()
        await asyncio.sleep(0)
        return len(answer)

    sizes = {name: asyncio.run(size_of(name)) for name in CASES}
    assert len(set(sizes.values())) == 1, sizes


def test_the_longest_names_of_issuer_and_origin_make_no_refusal_longer() -> None:
    long = ".".join(["a" * 49] * (MAX_NAMED // 100))  # so that both have that together
    catalogue = dataclasses.replace(MINT.catalogue(MODELS), issuer=f"{long}a", origin=f"a{long}")
    assert len(catalogue.issuer) + len(catalogue.origin) == MAX_NAMED

    async def size_of(fields: Fields, now: float) -> int:
        clock = Clock(now)
        gate = Gate(catalogue, memory_store(clock), lambda: LABEL, Counted().tally, clock=clock)
        with pytest.raises(ChatError) as refused:
            await pay(gate, gate.look(fields), PRICES[0].units)
        return max(len(encode_response(each.refuse(refused.value))) for each in SURFACES.values())

    late = MINT.epochs[0].redeem_until + 301
    for fields, now in (((), Clock().now), ((MINT.field(),), Clock().now), ((MINT.field(),), late)):
        assert asyncio.run(size_of(fields, now)) <= SMALLEST_BUCKET


STREAMS: dict[str, tuple[str, dict[str, Any], Behaviour]] = {
    "answered": ("good", {}, answering("Paris.")),
    "free": ("good", {"model": "free"}, answering("Paris.")),
    "nothing": ("nothing", {}, answering()),
    "spent": ("spent", {}, answering()),
    "too small": ("good", {"max_tokens": 600}, answering()),
    "in use": ("in use", {}, answering()),
    "upstream gone": ("good", {}, hanging_up),
    "broken off": ("good", {}, streaming_then_closing(stream_of(["Pa"])[:2])),
}


def test_a_short_stream_and_every_refusal_have_one_shape() -> None:
    shape = Shape(0.01, 4096, GeometricSeries(20, 1.5))

    async def sizes_of(name: str) -> tuple[int, ...]:
        case, changes, behaviour = STREAMS[name]
        async with StandInUpstream(behaviour) as upstream:
            service = PaidService(upstream)
            fields = await presented(service, case)
            gateway = Gateway(lambda: [KEY], service.chat.dispatch)
            sealer, _ = chunked.encapsulate_request(KEY.config)
            sealed = sealer.finish(inner(fields, stream=True, **changes))
            pieces = Pacer(shape, failures.append)(gateway.open_chunked(sealed))
            sizes = tuple([len(piece) async for piece in pieces])
            await service.close()
        await asyncio.sleep(0)
        return sizes

    failures: list[Exception] = []
    shapes = {name: asyncio.run(sizes_of(name)) for name in STREAMS}
    assert failures == []
    assert len(set(shapes.values())) == 1, shapes
    assert len(shapes["answered"]) == 20


# What the host sees.


class RecordingProxy:
    """Stands before a store, and keeps all commands and replies, in their order."""

    def __init__(self, folder: Path, store: str) -> None:
        self.path = folder / "proxy.sock"
        self.commands: list[list[bytes]] = []
        self.replies: list[bytes] = []
        self.octets = 0
        self._store = store.removeprefix("unix:")

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Listen; give the address."""
        server = await asyncio.start_unix_server(self._accept, self.path)
        try:
            yield f"unix:{self.path}"
        finally:
            server.close()
            await server.wait_closed()
            await asyncio.sleep(0.05)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        store_reader, store_writer = await asyncio.open_unix_connection(self._store)
        try:
            while command := await read_command(reader):
                self.commands.append(command)
                data = b"*%d\r\n" % len(command)
                data += b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command)
                self.octets += len(data)
                store_writer.write(data)
                reply = await store_reader.readline()
                if reply.startswith(b"$") and reply != b"$-1\r\n":
                    reply += await store_reader.readexactly(19)
                self.replies.append(reply)
                writer.write(reply)
                await writer.drain()
        finally:
            for each in (writer, store_writer):
                each.close()


def shape_of(command: list[bytes]) -> tuple[object, ...]:
    """Return all of a command but what is random: the words, and the sizes of the rest."""
    return tuple(part if len(part) not in (17, 32) else len(part) for part in command)


def mixed() -> Iterator[tuple[Token, int, dict[str, Any]]]:
    """Yield tokens of every price and both epochs, and what each asks."""
    for number in range(REQUESTS):
        price = number % len(PRICES)
        streams = {"stream": True} if number // len(PRICES) % 2 else {}
        yield MINT.token(PRICES[price], epoch=number // 8 % 2), price, streams


async def often_failing(exchange: Exchange) -> None:
    """Fail now and then, whatever was paid; not by hanging up, after which one is asked again."""
    behaviour = sending(500, {}) if secrets.randbelow(8) == 0 else answering("Paris is it.")
    await behaviour(exchange)


def test_the_host_sees_how_many_and_when_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        settling, "_now", lambda: 1000.0
    )  # so that there is one flush, however slow
    tokens = list(mixed())
    # Both epochs are taken by now.
    clock = Clock(MINT.epochs[1].issue_from + 86400.0)

    async def scenario(recorded: RecordingProxy) -> None:
        async with StandInUpstream(often_failing) as upstream, recorded.running() as address:
            service = PaidService(upstream, redis_store(address, clock), clock)
            for token, _, streams in tokens:
                asked = service.stream if streams else service.whole
                with contextlib.suppress(AssertionError):  # a refusal where a stream was wanted
                    await asked(paying_with(token))
            await service.close()

    with redis_server(tmp_path) as server:
        recorded = RecordingProxy(tmp_path, server.unix)
        asyncio.run(scenario(recorded))

    kinds = Counter((command[0], len(command)) for command in recorded.commands)
    holds = [command for command in recorded.commands if b"NX" in command]
    commits = [command for command in recorded.commands if b"EXAT" in command]
    returns = [command for command in recorded.commands if command[0] == b"EVAL"]
    assert len(holds) == REQUESTS
    assert len(commits) + len(returns) == REQUESTS
    assert kinds.total() == 2 * REQUESTS
    assert returns  # or nothing was tried

    # One length and one form for all of a kind, whatever was paid.
    assert len({shape_of(command) for command in holds}) == 1
    assert len({shape_of(command) for command in commits}) == 1
    assert len({shape_of(command) for command in returns}) == 1
    assert set(recorded.replies) == {b"$-1\r\n", b"+OK\r\n", b":1\r\n"}

    # No value twice, but those of one request in its two steps.
    names = [command[1] for command in holds]
    owners = [command[2][1:] for command in holds]
    assert len(set(names)) == len(set(owners)) == REQUESTS
    ended = [command[1] for command in commits] + [command[3] for command in returns]
    assert Counter(ended) == Counter(names)

    # Nothing of a token, of its key or of its price is in what passed.
    passed = b"".join(part for command in recorded.commands for part in command)
    for token, _, _ in tokens:
        for secret in (token.nonce, token.token_key_id, token.authenticator[:16]):
            assert secret not in passed
    prices = {nullifier(LABEL, token): price for token, price, _ in tokens}
    assert {prices[name] for name in names} == {0, 1, 2, 3}

    # Neither order nor count tells the price: holds come as they are asked, commits are sorted.
    by_price: defaultdict[int, set[tuple[object, ...]]] = defaultdict(set)
    for command in [*holds, *commits]:
        by_price[prices[command[1]]].add(shape_of(command))
    assert len({frozenset(shapes) for shapes in by_price.values()}) == 1
    flushed = [command[1] for command in commits]
    assert flushed == sorted(flushed)


ENDS: dict[str, tuple[Behaviour, dict[str, Any], bool]] = {
    "answered": (answering("Paris."), {}, False),
    "streamed": (answering("Paris."), {"stream": True}, False),
    "broken off": (streaming_then_closing(stream_of(["Pa"])[:2]), {"stream": True}, False),
    "not understood": (sending(200, b"{"), {}, False),
    "rejected": (sending(400, {}), {}, True),
    "too long": (sending(413, {}), {}, True),
    "limited": (sending(429, {}), {}, True),
    "overloaded": (sending(529, {}), {}, True),
    "broken": (sending(500, {}), {}, True),
    "hung up on": (hanging_up, {}, True),
    "too late": (silent, {}, True),
    "said nothing": (streaming_then_closing([]), {"stream": True}, True),
}


def test_no_time_tells_the_host_how_a_request_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ends go with one flush: neither which failure it was nor how long it took is seen."""
    now = 1000.0
    monkeypatch.setattr(settling, "_now", lambda: now)
    returned: set[bytes] = set()

    async def end(name: str, store: RedisStore, clock: Clock) -> None:
        behaviour, changes, comes_back = ENDS[name]
        token = MINT.token()
        if comes_back:
            returned.add(nullifier(LABEL, token))
        async with StandInUpstream(behaviour) as upstream:
            service = PaidService(upstream, store, clock, total_seconds=0.2)
            asked = service.stream if changes else service.whole
            with contextlib.suppress(AssertionError):  # a refusal where a stream was wanted
                await asked(paying_with(token))
            service.chat.close()

    async def scenario(recorded: RecordingProxy) -> None:
        nonlocal now
        async with recorded.running() as address:
            clock = Clock()
            store = redis_store(address, clock)
            for name in ENDS:
                await end(name, store, clock)
                now += 1
            assert store._settlements.waiting == len(ENDS)
            before = len(recorded.commands)
            now = 1020.0
            store._settlements._earlier.set()  # as its timer would
            while store._settlements.waiting:
                await asyncio.sleep(0.01)
            assert before == len(ENDS)
            await store.close()

    with redis_server(tmp_path) as server:
        recorded = RecordingProxy(tmp_path, server.unix)
        asyncio.run(scenario(recorded))

    holds, ends = recorded.commands[: len(ENDS)], recorded.commands[len(ENDS) :]
    assert all(b"NX" in command for command in holds)
    given_back = [command[3] for command in ends if command[0] == b"EVAL"]
    spent = [command[1] for command in ends if b"EXAT" in command]
    assert set(given_back) == returned
    assert given_back + spent == sorted(given_back) + sorted(spent)
    assert len(given_back + spent) == len(ENDS) == len(ends)


def test_who_asks_again_with_a_token_that_came_back_is_not_seen_to(tmp_path: Path) -> None:
    """As programs do after a 429: the host sees one hold and one end of it."""
    statuses = iter([429, 503, 200])

    async def failing_twice(exchange: Exchange) -> None:
        status = next(statuses)
        await (answering("Paris.") if status == 200 else sending(status, {}))(exchange)

    async def scenario(recorded: RecordingProxy) -> None:
        clock = Clock()
        async with StandInUpstream(failing_twice) as upstream, recorded.running() as address:
            service = PaidService(upstream, redis_store(address, clock), clock)
            token = MINT.field()
            found = [(await service.whole(token)).status for _ in range(4)]
            assert found == [429, 503, 200, 409]
            await service.close()

    with redis_server(tmp_path) as server:
        recorded = RecordingProxy(tmp_path, server.unix)
        asyncio.run(scenario(recorded))
    hold, refused, commit = recorded.commands
    assert b"NX" in hold
    assert b"NX" in refused  # of the fourth, which is one too many
    assert (commit[0], commit[2][1:]) == (b"SET", hold[2][1:])


def test_commands_are_the_three_that_are_told() -> None:
    """As `redis_store` says of itself, and SECURITY.md of what the host sees."""
    text = redis_module.__doc__ or ""
    for command in ("SET k h‖owner NX GET EX lease", "SET k s‖owner EXAT t", "EVAL <script> 1 k"):
        assert command in text


def test_security_says_what_an_old_copy_of_the_store_does() -> None:
    """`test_redis_store.py` shows it: a token passes twice, and nothing else changes."""
    lines = (ROOT / "SECURITY.md").read_text(encoding="utf-8").split("\n")
    (row,) = [line for line in lines if line.startswith("| **host**, with the store of spent")]
    may = row.split("|")[3]
    assert "go back to an old copy" in may
    assert "spent twice, at the operator's own cost" in may

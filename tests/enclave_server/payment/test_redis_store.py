"""Spent tokens in a real Redis, and in stores that lie, stall and vanish."""

import asyncio
import random
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from enclave_server.payment import redis_store as module
from enclave_server.payment import settling
from enclave_server.payment.redis_store import RedisStore
from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.resp import HELD, SPENT, encode
from enclave_server.tokens_table import LEASE_MARGIN_SECONDS
from tests.enclave_server.payment.test_resp import WRONG
from tests.support.hostile_store import HostileStore, nothing, saying
from tests.support.paid_service import LEASE, LIFETIMES, NOW, redis_store
from tests.support.redis_server import RedisServer, redis_server

OWNER = bytes(range(16))
A, B = b"a" * 32, b"b" * 32
KEPT = LIFETIMES.kept_until(NOW)
Use = Callable[[RedisStore, RedisServer], Awaitable[None]]
HostileUse = Callable[[RedisStore, HostileStore], Awaitable[None]]


async def found(store: RedisStore, nullifier: bytes) -> Refusal | None:
    try:
        await store.hold(nullifier)
    except Refused as refused:
        return refused.refusal
    return None


async def settled(store: RedisStore) -> None:
    while store._settlements.waiting:
        await asyncio.sleep(0.01)


def real(folder: Path, use: Use, *options: str) -> None:
    with redis_server(folder, *options) as server:

        async def scenario() -> None:
            store = redis_store(server.unix)
            try:
                await use(store, server)
            finally:
                await store.close()

        asyncio.run(scenario())


def hostile(reply: Callable[[bytes], Awaitable[bytes | None]], use: HostileUse) -> HostileStore:
    async def scenario() -> HostileStore:
        async with HostileStore(reply) as server:
            store = redis_store(server.address)
            try:
                await use(store, server)
            finally:
                await store.close()
        return server

    return asyncio.run(scenario())


# A real one.


def test_what_stands_in_redis(tmp_path: Path) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        ticket = await store.hold(A)
        assert server.command("GET", A) == b"$17\r\n%b\r\n" % (HELD + ticket)
        assert server.command("TTL", A) in (b":%d\r\n" % LEASE, b":%d\r\n" % (LEASE - 1))
        assert await found(store, A) is Refusal.IN_USE
        store.commit(A, ticket)
        assert server.command("GET", A) == b"$17\r\n%b\r\n" % (HELD + ticket)  # not yet
        await store.close()
        assert server.command("GET", A) == b"$17\r\n%b\r\n" % (SPENT + ticket)
        assert server.command("EXPIRETIME", A) == b":%d\r\n" % KEPT
        assert await found(store, A) is Refusal.SPENT

    real(tmp_path, use)


def test_what_is_given_back_is_gone_and_nothing_else_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "FLUSH_SECONDS", 0.05)

    async def use(store: RedisStore, server: RedisServer) -> None:
        ticket = await store.hold(A)
        for other in (OWNER, b"*" * 16):
            store.give_back(A, other)
        await settled(store)
        assert await found(store, A) is Refusal.IN_USE
        store.give_back(A, ticket)
        await settled(store)
        assert server.count() == 0
        ticket = await store.hold(A)
        store.commit(A, ticket)
        await store.close()
        store.give_back(A, ticket)
        await settled(store)
        assert await found(store, A) is Refusal.SPENT

    real(tmp_path, use)


def test_what_a_request_provoked_is_held_until_the_flush(tmp_path: Path) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        ticket = await store.hold(A)
        store.give_back(A, ticket, 0.01)
        await asyncio.sleep(0.02)
        assert await found(store, A) is Refusal.IN_USE
        assert server.command("GET", A) == b"$17\r\n%b\r\n" % (HELD + ticket)
        await store._settlements.close()
        assert await found(store, A) is None

    real(tmp_path, use)


def test_who_asks_again_with_what_came_back_has_it_and_the_store_hears_nothing(
    tmp_path: Path,
) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        other = redis_store(server.unix)
        ticket = await store.hold(A)
        for _ in range(3):
            store.give_back(A, ticket)
            assert await store.hold(A) == ticket
            assert await found(store, A) is Refusal.IN_USE
            assert await found(other, A) is Refusal.IN_USE
        store.commit(A, ticket)
        assert await found(store, A) is Refusal.IN_USE
        await store.close()
        assert await found(store, A) is Refusal.SPENT
        assert server.command("GET", A) == b"$17\r\n%b\r\n" % (SPENT + ticket)
        await other.close()

    real(tmp_path, use)


def test_a_hold_is_taken_up_only_while_its_lease_outlasts_any_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = settling.FLUSH_SECONDS + settling.RETRY_SECONDS + module.SETTLE_SECONDS
    assert module.AGAIN_SECONDS + late < LEASE_MARGIN_SECONDS
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.0)

    async def use(store: RedisStore, server: RedisServer) -> None:
        ticket = await store.hold(A)
        await asyncio.sleep(0.01)
        store.give_back(A, ticket)
        assert await found(store, A) is Refusal.IN_USE

    real(tmp_path, use)


def test_nothing_is_kept_of_holds_that_have_ended(tmp_path: Path) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        spent, returned = await store.hold(A), await store.hold(B)
        assert len(store._again_until) == 2
        store.commit(A, spent)
        store.give_back(B, returned)
        assert store._again_until == {}
        await store.close()
        assert store._settlements._unsent == {}

    real(tmp_path, use)


def test_a_lease_ends_in_the_store_itself(tmp_path: Path) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        store._hold = module._around_key_and_value(1)
        await store.hold(A)
        while await found(store, A) is not None:
            await asyncio.sleep(0.05)

    real(tmp_path, use)


def test_many_stores_at_once_hold_each_token_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1,600 holds in one turn of one loop: here each gets its answer, however long that takes.
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 60.0)
    names = [secrets.token_bytes(32) for _ in range(200)]

    async def use(store: RedisStore, server: RedisServer) -> None:
        others = [redis_store(server.tcp) for _ in range(4)]
        asked = [found(each, name) for name in names for each in others for _ in range(2)]
        results = await asyncio.gather(*asked)
        assert results.count(None) == len(names)
        assert set(results) == {None, Refusal.IN_USE}
        for each in others:
            await each.close()

    real(tmp_path, use)


def test_a_store_that_comes_back_has_its_file_and_is_told_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(settling, "FLUSH_SECONDS", 0.05)
    options = ["--appendonly", "yes", "--appendfsync", "always"]

    async def scenario() -> None:
        with redis_server(tmp_path, *options) as server:
            store = redis_store(server.unix)
            tickets = {name: await store.hold(name) for name in (A, B)}
        store.commit(A, tickets[A])
        store.give_back(B, tickets[B])
        assert await found(store, b"c" * 32) is Refusal.UNAVAILABLE
        assert store._settlements.waiting == 3
        with redis_server(tmp_path, *options) as server:
            await settled(store)
            assert await found(store, A) is Refusal.SPENT
            assert await found(store, B) is None
            await store.close()

    asyncio.run(scenario())


def test_an_old_dump_lets_a_token_pass_twice_and_changes_nothing_else(tmp_path: Path) -> None:
    names = [secrets.token_bytes(32) for _ in range(3)]

    async def scenario() -> None:
        with redis_server(tmp_path) as server:
            store = redis_store(server.unix)
            store.commit(names[0], await store.hold(names[0]))
            await store.close()
            server.command("SAVE")
            shutil.copy(tmp_path / "dump.rdb", tmp_path / "old.rdb")
            store.commit(names[1], await store.hold(names[1]))
            await store.close()
            server.command("SAVE")
        shutil.copy(tmp_path / "old.rdb", tmp_path / "dump.rdb")
        with redis_server(tmp_path) as server:
            store = redis_store(server.unix)
            assert await found(store, names[0]) is Refusal.SPENT
            assert await found(store, names[1]) is None
            assert await found(store, names[2]) is None
            await store.close()

    asyncio.run(scenario())


def test_a_store_without_memory_or_leave_to_write_is_unavailable(tmp_path: Path) -> None:
    async def use(store: RedisStore, server: RedisServer) -> None:
        server.command("CONFIG", "SET", "maxmemory", "1")
        assert await found(store, A) is Refusal.UNAVAILABLE
        server.command("CONFIG", "SET", "maxmemory", "0")
        server.command("REPLICAOF", "127.0.0.1", "1")
        assert await found(store, A) is Refusal.UNAVAILABLE
        server.command("REPLICAOF", "NO", "ONE")
        assert await found(store, A) is None

    real(tmp_path, use)


# Hostile ones.


@pytest.mark.parametrize("said", WRONG, ids=[repr(said[:12]) for said in WRONG])
def test_whatever_is_no_reply_is_no_hold(said: bytes) -> None:
    async def use(store: RedisStore, server: HostileStore) -> None:
        started = time.monotonic()
        # An end of line, or its half, may be the end of one that is longer: so it waits.
        assert await found(store, A) is Refusal.UNAVAILABLE
        assert time.monotonic() - started < 60
        server.reply = saying(b"$-1\r\n")
        assert await found(store, B) is None

    hostile(saying(said), use)


def test_a_silent_store_is_unavailable_within_two_seconds() -> None:
    assert module.ATTEMPTS * module.ATTEMPT_SECONDS < 2

    async def use(store: RedisStore, server: HostileStore) -> None:
        results = await asyncio.gather(*(found(store, bytes([n]) * 32) for n in range(20)))
        assert set(results) == {Refusal.UNAVAILABLE}
        server.reply = saying(b"$-1\r\n")
        assert await found(store, A) is None
        server.reply = saying(b":0\r\n")

    hostile(nothing, use)


def test_nobody_there_is_unavailable() -> None:
    async def scenario() -> None:
        store = redis_store("unix:/nonexistent/socket")
        assert await found(store, A) is Refusal.UNAVAILABLE
        await store.close()

    asyncio.run(scenario())


def test_a_lost_reply_is_asked_for_again_by_the_same_owner() -> None:
    for last, expected in (
        (b"$-1\r\n", None),
        (b"$17\r\n" + HELD + OWNER + b"\r\n", None),
        (b"$17\r\n" + HELD + b"!" * 16 + b"\r\n", Refusal.IN_USE),
        (b"$17\r\n" + SPENT + OWNER + b"\r\n", Refusal.SPENT),
    ):
        replies = [None, last, b":1\r\n"]

        async def use(
            store: RedisStore, server: HostileStore, expected: Refusal | None = expected
        ) -> None:
            store._random = lambda size: OWNER[:size]
            assert await found(store, A) is expected
            holds = [command for command in server.commands if command.startswith(b"SET")]
            assert len(holds) == 2
            assert holds[0] == holds[1]

        hostile(saying(*replies), use)


def test_what_may_be_held_all_the_same_is_given_back_when_the_store_answers() -> None:
    async def use(store: RedisStore, server: HostileStore) -> None:
        store._random = lambda size: OWNER[:size]
        assert await found(store, A) is Refusal.UNAVAILABLE
        server.reply = saying(b":1\r\n")
        await settled(store)
        last = server.commands[-1]
        assert last.startswith(b"EVAL ")
        assert last.endswith(b" 1 " + A + b" " + HELD + OWNER)

    hostile(saying(None, None, None, b":1\r\n"), use)


def test_who_goes_away_amid_a_hold_leaves_it_to_be_given_back() -> None:
    async def use(store: RedisStore, server: HostileStore) -> None:
        asking = asyncio.ensure_future(store.hold(A))
        while not server.commands:
            await asyncio.sleep(0.001)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert store._settlements.waiting == 1
        server.reply = saying(b":1\r\n")

    hostile(nothing, use)


def test_a_hold_is_the_command_that_it_says() -> None:
    pieces = module._around_key_and_value(LEASE)
    command = pieces[0] + A + pieces[1] + HELD + OWNER + pieces[2]
    assert command == encode(b"SET", A, HELD + OWNER, b"NX", b"GET", b"EX", b"%d" % LEASE)


def test_commits_to_a_store_that_refuses_them_stay_until_it_takes_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(settling, "FLUSH_SECONDS", 0.01)

    async def use(store: RedisStore, server: HostileStore) -> None:
        for said in (b"-LOADING\r\n", b":1\r\n", b"$-1\r\n", None, b"+O"):
            server.reply = saying(said)
            before = len(server.commands)
            store.commit(A, OWNER)
            while len(server.commands) == before:
                await asyncio.sleep(0.01)
            assert store._settlements.waiting == 1
            server.reply = saying(b"+OK\r\n")
            if said == b"+O":
                server.reply = saying(b"+OK\r\n")
                await server.go_away()
                await server.listen()
            await settled(store)

    hostile(nothing, use)


def test_random_and_spliced_replies_never_hold_but_after_nil() -> None:
    chance = random.Random(1)
    good = [b"$-1\r\n", b"$17\r\nh" + b"*" * 16 + b"\r\n", b"+OK\r\n", b":0\r\n", b"-E\r\n"]

    def reply() -> bytes:
        cut = chance.choice(good)[: chance.randrange(1, 24)] + chance.choice(good)
        return chance.choice([chance.randbytes(chance.randrange(1, 40)), cut, *good])

    async def use(store: RedisStore, server: HostileStore) -> None:
        for _ in range(300):
            said = reply()
            server.reply = saying(said, None)
            result = await found(store, secrets.token_bytes(32))
            if result is None:
                assert said.startswith(b"$-1\r\n")
            elif result is not Refusal.UNAVAILABLE:
                assert said.startswith(b"$17\r\nh")
        server.reply = saying(None)

    hostile(nothing, use)

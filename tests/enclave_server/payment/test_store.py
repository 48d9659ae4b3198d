"""Both stores do what a store does."""

import asyncio
import secrets
from pathlib import Path

import pytest

from enclave_server.payment.refusals import Refusal, Refused
from enclave_server.payment.store import Store
from tests.support.paid_service import Clock, memory_store, redis_store
from tests.support.redis_server import redis_server


async def found(store: Store, nullifier: bytes) -> Refusal | None:
    try:
        ticket = await store.hold(nullifier)
    except Refused as refused:
        return refused.refusal
    store.give_back(nullifier, ticket)
    return None


async def go_through(store: Store) -> None:
    """Take a token along every way."""
    spent, returned = secrets.token_bytes(32), secrets.token_bytes(32)
    ticket = await store.hold(spent)
    assert await found(store, spent) is Refusal.IN_USE
    store.commit(spent, ticket)
    other = await store.hold(returned)
    store.give_back(returned, other)
    while await found(store, returned) is not None:
        await asyncio.sleep(0.01)
    await store.close()
    assert await found(store, spent) is Refusal.SPENT
    await store.close()


@pytest.mark.parametrize("store", ["memory", "redis"])
def test_a_token_takes_each_way(store: str, tmp_path: Path) -> None:
    if store == "memory":
        asyncio.run(go_through(memory_store(Clock())))
        return
    with redis_server(tmp_path) as server:

        async def scenario() -> None:
            await go_through(redis_store(server.unix))

        asyncio.run(scenario())

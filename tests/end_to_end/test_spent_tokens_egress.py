"""Spent tokens in a real Redis behind a hole of a real host proxy, as the enclave reaches it.

In deployment the enclave's end of the hole is a port of AF_VSOCK. Here a Unix socket stands in for
it, as nothing may be dialed by vsock on a machine that is no enclave's parent; the store dials, and
the proxy carries, in the same way.
"""

import asyncio
import re
import time
from pathlib import Path

import pytest

from enclave_server.payment import settling
from enclave_server.payment.redis_store import RedisStore
from enclave_server.payment.refusals import Refusal, Refused
from scripts.local.stack import ROOT
from tests.support.host_proxy_process import running
from tests.support.paid_service import redis_store
from tests.support.redis_server import redis_server

A, B, C, D = (letter * 32 for letter in (b"a", b"b", b"c", b"d"))


async def found(store: RedisStore, nullifier: bytes) -> Refusal | None:
    try:
        await store.hold(nullifier)
    except Refused as refused:
        return refused.refusal
    return None


async def settled(store: RedisStore) -> None:
    while store._settlements.waiting:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_tokens_are_held_spent_and_given_back_through_a_hole(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(settling, "FLUSH_SECONDS", 0.05)
    hole = tmp_path / "hole"

    async def scenario() -> None:
        with redis_server(tmp_path) as server:
            target = server.unix if kind == "unix" else server.tcp.removeprefix("tcp://")
            store = redis_store(f"unix:{hole}")
            with running("--egress", f"unix:{hole}={target}") as proxy:
                proxy.event("ready")
                tickets = {name: await store.hold(name) for name in (A, B, C)}
                assert await found(store, A) is Refusal.IN_USE
                store.commit(A, tickets[A])
                store.give_back(B, tickets[B])
                await settled(store)
                assert await found(store, A) is Refusal.SPENT
                assert await found(store, B) is None
            begun = time.monotonic()
            assert await found(store, D) is Refusal.UNAVAILABLE
            assert time.monotonic() - begun < 10
            store.commit(C, tickets[C])  # while nothing carries it
            hole.unlink(missing_ok=True)
            with running("--egress", f"unix:{hole}={target}") as proxy:
                proxy.event("ready")
                await settled(store)
                assert await found(store, C) is Refusal.SPENT
                assert await found(store, D) is None
                await store.close()

    asyncio.run(scenario())


def test_what_is_deployed_names_one_hole_and_one_redis() -> None:
    """The egress in the comment of Redis' configuration leads to where that listens."""
    text = (ROOT / "scripts/deploy/spent-tokens-redis.conf").read_text()
    (target,) = re.findall(r'"vsock://3:8002" = "([^"]+)"', text)
    (address,) = re.findall(r"^bind (\S+)$", text, re.MULTILINE)
    (port,) = re.findall(r"^port (\d+)$", text, re.MULTILINE)
    assert target == f"{address}:{port}"

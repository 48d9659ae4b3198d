"""Reading along before a store: all of it is seen, and what must not be there is noticed."""

import asyncio
import secrets
import socket
from collections import Counter
from pathlib import Path

import pytest

from enclave_server.payment.refusals import Refused
from enclave_server.payment.resp import encode
from scripts.emulation.store_watch import (
    Command,
    StoreWatch,
    commands_in,
    commits,
    faults,
    holds,
    returns,
)
from tests.support.paid_service import redis_store
from tests.support.redis_server import redis_server

A, B = b"a" * 32, b"b" * 32
OWNER, OTHER = b"o" * 16, b"p" * 16


def hold(name: bytes = A, owner: bytes = OWNER, lease: bytes = b"660") -> Command:
    return (b"SET", name, b"h" + owner, b"NX", b"GET", b"EX", lease)


def commit(name: bytes = A, owner: bytes = OWNER, until: bytes = b"4000000000") -> Command:
    return (b"SET", name, b"s" + owner, b"EXAT", until)


def give_back(name: bytes = A, owner: bytes = OWNER) -> Command:
    return (b"EVAL", b"script", b"1", name, b"h" + owner)


ONCE = Counter([A, B])


def test_what_may_be_seen() -> None:
    seen = [hold(), hold(), hold(B, OTHER), commit(), give_back(B, OTHER)]
    assert faults(seen, ONCE, [b"c" * 32]) == []
    assert faults([hold(), hold(A, OTHER)], Counter({A: 2}), []) == []
    assert faults([hold(), give_back(B)], ONCE, []) == []  # of a hold that was lost
    assert [len(choose(seen)) for choose in (holds, commits, returns)] == [3, 1, 1]


@pytest.mark.parametrize(
    ("commands", "found"),
    [
        ([hold(), (b"GET", A)], "other commands"),
        ([hold(), hold(B, OTHER, b"60")], "holds differ"),
        ([hold(), hold(B, OTHER), commit(), commit(B, OTHER, b"4000000001")], "commits differ"),
        ([hold(), hold(A, OTHER)], "a name comes again"),
        ([hold(b"c" * 32)], "a name comes again"),
        ([hold(), hold(B)], "an owner comes again"),
        ([hold(), commit(B)], "is spent that was not held"),
        ([hold(), commit(A, OTHER)], "is spent that was not held"),
        ([hold(), give_back(b"c" * 32)], "given back that was not shown"),
        ([hold(A, b"secret" + bytes(10))], "a part of a token"),
    ],
)
def test_what_must_not_be_seen(commands: list[Command], found: str) -> None:
    assert any(found in each for each in faults(commands, ONCE, [b"secret"]))


def test_commands_are_read_as_far_as_they_have_come() -> None:
    first, second = encode(*hold()), encode(*commit())
    for cut in range(len(second)):
        assert commands_in(first + second[:cut]) == [hold()]
    assert commands_in(first + second) == [hold(), commit()]


@pytest.mark.parametrize("asked", [b"PING\r\n", b"*1\r\n:1\r\n", b"*1\r\n$1\r\nabc", b"*x\r\n"])
def test_what_is_no_command_is_told(asked: bytes) -> None:
    with pytest.raises(ValueError, match="command"):
        commands_in(asked)


def test_all_that_a_store_is_asked_passes_and_is_kept(tmp_path: Path) -> None:
    names = [secrets.token_bytes(32) for _ in range(20)]

    async def scenario(address: str) -> None:
        store = redis_store(address)
        for name in names:
            store.commit(name, await store.hold(name))
        with pytest.raises(Refused):
            await store.hold(names[0])
        await store.close()

    store = tmp_path / "redis.sock"
    with StoreWatch(tmp_path / "watch.sock", store) as watch:
        with redis_server(tmp_path) as server:
            assert server.unix == f"unix:{store}"
            asyncio.run(scenario(f"unix:{watch.path}"))
            assert server.count() == len(names)
        with socket.socket(socket.AF_UNIX) as client:  # the store has gone
            client.settimeout(30)
            client.connect(str(watch.path))
            assert client.recv(1) == b""
        commands = watch.commands()
    assert [len(choose(commands)) for choose in (holds, commits, returns)] == [21, 20, 0]
    shown = Counter([*names, names[0]])
    assert faults(commands, shown, []) == []
    assert faults(commands, Counter(names), []) != []

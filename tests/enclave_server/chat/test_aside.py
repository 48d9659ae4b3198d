"""Work that is done elsewhere: its copies are made in turns, and none is kept for long."""

import asyncio
import weakref
from collections.abc import Sequence

import pytest

from enclave_server.chat.aside import Aside, in_turns
from enclave_server.chat.elsewhere import Ended, do
from enclave_server.chat.models import ModelTable
from enclave_server.chat.spoken import Spoken
from enclave_server.chat.surfaces.surface import Signature
from protocol.signature import Algorithm
from tests.support.chat_service import KEYS


class Copy(bytearray):
    """A copy whose end can be noticed."""


def test_no_two_copies_of_a_large_request_are_made_in_one_turn_and_none_is_kept() -> None:
    steps: list[str] = []
    copies: list[weakref.ref[Copy]] = []

    async def scenario() -> str:
        loop = asyncio.get_running_loop()

        def turn() -> None:
            kept = [copy for copy in copies if copy() is not None]
            steps.append(f"a turn with {len(kept)}")

        def encode() -> bytes:
            steps.append("encoded")
            return b"job"

        async def elsewhere(job: bytes) -> bytearray:
            steps.append(job.decode())
            copy = Copy(b"result")
            copies.append(weakref.ref(copy))
            loop.call_soon(turn)
            return copy

        def decode(data: bytes | bytearray) -> str:
            steps.append("decoded")
            loop.call_soon(turn)
            return bytes(data).decode()

        loop.call_soon(turn)
        return await in_turns(elsewhere, encode, decode)

    assert asyncio.run(scenario()) == "result"
    assert steps == [
        *("a turn with 0", "encoded", "job"),
        *("a turn with 1", "decoded"),
        "a turn with 0",
    ]


def test_nothing_waits_longer_than_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    async def elsewhere(job: bytes) -> bytes:
        return job

    monkeypatch.setattr(asyncio, "sleep", pause)
    assert asyncio.run(in_turns(elsewhere, lambda: b"job", bytes)) == b"job"
    assert pauses == [0, 0, 0]


def test_what_is_large_of_streams_is_done_one_after_the_other() -> None:
    """So that it never takes all readers of a worker."""
    begun: list[bytes] = []
    at_once: list[int] = []

    async def elsewhere(job: bytes) -> bytes:
        begun.append(job)
        at_once.append(len(begun))
        await asyncio.sleep(0)
        begun.remove(job)
        return do(ModelTable(()), KEYS, job)

    def ended(choices: Sequence[Spoken]) -> Ended:
        return Ended(bytes(32), "m", Algorithm.ED25519, 2, 7, choices)

    async def scenario() -> list[Signature]:
        turn = asyncio.Semaphore(1)
        aside = Aside(elsewhere, turn, "openai-chat", "conversation", ended)
        spoken = Spoken(0, bytearray(b"a"), bytearray(), bytearray(), [], "stop")
        return await asyncio.gather(*(aside.sign([spoken]) for _ in range(5)))

    signatures = asyncio.run(scenario())
    assert at_once == [1] * 5
    assert {signature["tee_timestamp"] for signature in signatures} == {7}

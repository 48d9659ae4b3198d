"""Work that is done elsewhere: its copies are made in turns, and none is kept for long."""

import asyncio
import weakref

from enclave_server.chat.elsewhere import in_turns


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

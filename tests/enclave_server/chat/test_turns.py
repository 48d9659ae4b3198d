"""Large questions that are ready at the same moment have turns of the event loop to themselves."""

import asyncio

from enclave_server.chat.turns import LARGE_BYTES, Turns
from tests.support.turns import counting_turns


def turns_of(*sizes: int) -> list[int]:
    """Return the turn in which each of those who ask together goes on."""

    async def scenario() -> list[int]:
        turns, turn = Turns(), counting_turns()

        async def ask(octets: int) -> int:
            await turns.wait(octets)
            return turn()

        return await asyncio.gather(*map(ask, sizes))

    return asyncio.run(scenario())


def test_large_ones_never_share_a_turn() -> None:
    found = turns_of(*[LARGE_BYTES] * 20)
    assert found == sorted(set(found))


def test_small_ones_wait_for_nobody() -> None:
    assert len(set(turns_of(*[LARGE_BYTES - 1] * 20))) == 1
    first, *_ = turns_of(LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES, LARGE_BYTES - 1)
    assert turns_of(LARGE_BYTES, LARGE_BYTES, LARGE_BYTES - 1)[2] == first


def test_one_that_gives_up_leaves_the_turns_of_others() -> None:
    async def scenario() -> None:
        turns = Turns()
        waiting = [asyncio.ensure_future(turns.wait(LARGE_BYTES)) for _ in range(5)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[3].cancel()
        ended = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ended[::3]] == [asyncio.CancelledError] * 2
        assert [ended[1], ended[2], ended[4]] == [None] * 3

    asyncio.run(scenario())

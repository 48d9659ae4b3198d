"""Silent streams: the head soon, a comment now and then, and nothing left behind."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from oblivious_client.local import waiting
from oblivious_client.local.messages import LocalResponse
from oblivious_client.local.waiting import COMMENT, Alive, Waiting, at_once


class Script:
    """Pieces, each given only once it is released."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.release = asyncio.Event()
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            await self.release.wait()
            yield piece

    async def aclose(self) -> None:
        self.closed += 1


def whole(body: bytes = b"refused") -> LocalResponse:
    return LocalResponse(502, (), body)


def test_a_comment_is_written_wherever_there_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "COMMENT_SECONDS", 0.01)

    async def run() -> list[bytes]:
        script, seen = Script([b"one", b"two"]), []
        alive = Alive(script)
        async for piece in alive:
            seen.append(piece)
            if len(seen) == 3:
                script.release.set()
        await alive.aclose()
        assert script.closed == 1
        return seen

    assert asyncio.run(run()) == [COMMENT, COMMENT, COMMENT, b"one", b"two"]
    assert COMMENT.startswith(b":")
    assert COMMENT.endswith(b"\n\n")


def test_what_is_closed_in_its_silence_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "COMMENT_SECONDS", 0.01)

    async def run() -> None:
        for reads in (0, 1):
            script = Script([b"one"])
            alive = Alive(script)
            pieces = aiter(alive)
            for _ in range(reads):
                assert await anext(pieces) == COMMENT
            await alive.aclose()
            assert script.closed == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(run())


def test_an_answer_that_comes_soon_is_the_answer_and_a_late_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "HEAD_SECONDS", 0.01)

    async def run() -> None:
        answer = whole()

        async def soon() -> LocalResponse:
            return answer

        assert await at_once(asyncio.ensure_future(soon())) is answer
        release = asyncio.Event()

        async def late() -> LocalResponse:
            await release.wait()
            return answer

        asking = asyncio.ensure_future(late())
        assert await at_once(asking) is None
        release.set()
        assert await asking is answer

    asyncio.run(run())


def test_who_goes_away_meanwhile_stops_the_asking() -> None:
    async def run() -> None:
        asking = asyncio.ensure_future(asyncio.sleep(3600, whole()))
        waits = asyncio.ensure_future(at_once(asking))
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, asking, return_exceptions=True)
        assert waits.cancelled()
        assert asking.cancelled()

    asyncio.run(run())


def test_a_late_answer_follows_its_comment() -> None:
    async def run() -> None:
        script = Script([b"one"])
        script.release.set()
        answer = LocalResponse(200, (), script)
        late = Waiting(asyncio.ensure_future(asyncio.sleep(0, answer)), lambda _: b"")
        assert [piece async for piece in late] == [COMMENT, b"one"]
        await late.aclose()
        assert script.closed == 1

    asyncio.run(run())


def test_a_late_failure_is_an_event_and_then_a_break() -> None:
    async def run() -> None:
        asking = asyncio.ensure_future(asyncio.sleep(0, whole()))
        late = Waiting(asking, lambda response: b"failed: " + bytes(response.body))  # type: ignore[arg-type]
        pieces = aiter(late)
        assert await anext(pieces) == COMMENT
        assert await anext(pieces) == b"failed: refused"
        with pytest.raises(ConnectionAbortedError):
            await anext(pieces)
        await late.aclose()

    asyncio.run(run())


def test_what_is_never_read_is_closed_all_the_same() -> None:
    async def run() -> None:
        script = Script([b"one"])
        answered = asyncio.ensure_future(asyncio.sleep(0, LocalResponse(200, (), script)))
        await answered
        await Waiting(answered, lambda _: b"").aclose()
        assert script.closed == 1
        pending = asyncio.ensure_future(asyncio.sleep(3600, whole()))
        await Waiting(pending, lambda _: b"").aclose()
        assert pending.cancelled()

    asyncio.run(run())

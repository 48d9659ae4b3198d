"""When what ends holds is told to a store, and that nothing of it is lost."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence

import pytest

from enclave_server.payment import settling
from enclave_server.payment.resp import Kind
from enclave_server.payment.settling import Settlements

Use = Callable[[Settlements, "Told"], Awaitable[None]]


class Told:
    """A store that notes what it is sent, and fails so many times before."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.batches: list[list[bytes]] = []
        self.kinds: list[Kind] = []

    async def send(self, commands: bytes, kinds: Sequence[Kind]) -> None:
        if self.failures:
            self.failures -= 1
            raise ConnectionRefusedError
        self.batches.append([b"%c" % octet for octet in commands])
        self.kinds += kinds


class Times:
    """A loop's clock that a test moves; sleeping moves it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(settling, "_now", lambda: self.now)


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


def run(use: Use, failures: int = 0) -> Told:
    told = Told(failures)

    async def scenario() -> None:
        await use(Settlements(told.send, (OSError,)), told)

    asyncio.run(scenario())
    return told


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def give_back(settlements: Settlements, name: bytes, command: bytes) -> None:
    """Give back what nobody takes up again."""
    settlements.give_back(name, command, b"t", -math.inf)


async def flush(settlements: Settlements, times: Times) -> None:
    """Move the clock to the next flush; they are every thirty seconds of it."""
    times.now = (times.now // 30 + 1) * 30
    settlements._earlier.set()  # as its timer would
    await turns()


def test_commits_wait_for_the_flush_and_go_together(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.commit(b"z", b"1")
        times.now += 19
        settlements.commit(b"a", b"2")
        await turns()
        assert told.batches == []
        await flush(settlements, times)
        # In the order of their nullifiers, whenever they came.
        assert told.batches == [[b"2", b"1"]]
        assert told.kinds == [Kind.DONE, Kind.DONE]
        assert settlements.waiting == 0

    run(use)


def test_what_is_given_back_waits_for_the_same_flush(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.give_back(b"z", b"1", b"t", times.now + 30)
        give_back(settlements, b"m", b"2")
        settlements.commit(b"b", b"3")
        times.now += 19
        give_back(settlements, b"a", b"4")
        await turns()
        assert told.batches == []
        await flush(settlements, times)
        assert told.batches == [[b"4", b"2", b"1"], [b"3"]]

    run(use)


def test_what_a_failed_hold_may_have_left_goes_at_once(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        give_back(settlements, b"a", b"1")
        await turns()
        settlements.undo(b"b", b"2")
        await turns()
        assert told.batches == [[b"2"]]
        await settlements.close()
        assert told.batches == [[b"2"], [b"1"]]

    run(use)


def test_what_was_given_back_is_taken_up_again_once_and_its_end_not_sent(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.give_back(b"a", b"1", b"t", times.now + 10)
        await turns()
        times.now += 10
        taken = settlements.take_up(b"a")
        assert taken is not None
        assert (taken.ticket, taken.again_until) == (b"t", times.now)
        assert settlements.take_up(b"a") is None
        assert settlements.waiting == 0
        await flush(settlements, times)
        settlements.commit(b"a", b"2")
        await flush(settlements, times)
        assert told.batches == [[b"2"]]

    run(use)


def test_what_is_too_late_was_sent_or_is_not_to_come_again_is_not_taken_up(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.give_back(b"a", b"1", b"t", times.now + 10)
        give_back(settlements, b"b", b"2")
        settlements.undo(b"c", b"3")
        settlements.commit(b"d", b"4")
        times.now += 10.1
        assert [settlements.take_up(name) for name in (b"a", b"b", b"c", b"d")] == [None] * 4
        await turns()
        settlements.give_back(b"e", b"5", b"t", times.now + 3600)
        told.failures = 1  # so it may have come, or not
        await flush(settlements, times)
        assert settlements.take_up(b"e") is None
        await settlements.close()
        sent = [command for batch in told.batches for command in batch]
        assert sorted(sent) == [b"1", b"2", b"3", b"4", b"5"]

    run(use)


def test_of_two_holds_the_later_is_taken_up(times: Times) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.give_back(b"a", b"1", b"t", times.now + 10)
        settlements.give_back(b"a", b"2", b"u", times.now + 10)
        taken = settlements.take_up(b"a")
        assert taken is not None
        assert taken.ticket == b"u"
        assert settlements.take_up(b"a") is None
        await settlements.close()
        assert told.batches == [[b"1"]]

    run(use)


def test_what_failed_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.01)

    async def use(settlements: Settlements, told: Told) -> None:
        for octet in b"12345":
            settlements.undo(b"%c" % octet, b"%c" % octet)
        while settlements.waiting:
            await asyncio.sleep(0.01)
        assert told.batches == [[b"1", b"2", b"3", b"4", b"5"]]

    assert run(use, failures=3).failures == 0


@pytest.mark.parametrize("refused", Kind)
def test_neither_waits_for_what_the_store_refuses_of_the_other(refused: Kind) -> None:
    class Half(Told):
        async def send(self, commands: bytes, kinds: Sequence[Kind]) -> None:
            if refused in kinds:
                raise ConnectionResetError
            await super().send(commands, kinds)

    async def scenario() -> None:
        told = Half()
        settlements = Settlements(told.send, (OSError,))
        give_back(settlements, b"a", b"1")
        settlements.commit(b"b", b"2")
        await turns()
        await settlements.close()
        taken = {Kind.COUNT: [[b"2"]], Kind.DONE: [[b"1"]]}
        assert told.batches == taken.get(refused, [[b"1"], [b"2"]])

    asyncio.run(scenario())


def test_batches_are_bounded_and_what_was_told_is_not_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(settling, "BATCH", 2)
    monkeypatch.setattr(settling, "RETRY_SECONDS", 0.01)

    async def use(settlements: Settlements, told: Told) -> None:
        send = told.send

        async def failing_second(commands: bytes, kinds: Sequence[Kind]) -> None:
            if len(told.batches) == 1 and not told.failures:
                told.failures = 1
            await send(commands, kinds)

        told.send = failing_second  # type: ignore[method-assign]
        settlements = Settlements(told.send, (OSError,))
        for octet in b"12345":
            settlements.undo(b"%c" % octet, b"%c" % octet)
        await asyncio.sleep(0.005)
        told.failures = 0
        told.send = send  # type: ignore[method-assign]
        settlements._send = send
        while settlements.waiting:
            await asyncio.sleep(0.01)
        assert told.batches == [[b"1", b"2"], [b"3", b"4"], [b"5"]]

    run(use)


@pytest.mark.parametrize("failures", [0, 1])
def test_all_that_is_left_is_told_once_at_the_end(failures: int) -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        settlements.commit(b"a", b"1")
        give_back(settlements, b"b", b"2")
        await settlements.close()

    assert run(use, failures).batches == ([] if failures else [[b"2"]]) + [[b"1"]]


def test_closing_with_nothing_to_do() -> None:
    async def use(settlements: Settlements, told: Told) -> None:
        await settlements.close()

    assert run(use).batches == []


def test_what_waits_is_bounded_and_the_oldest_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "MAX_COMMITS", 3)
    monkeypatch.setattr(settling, "MAX_RETURNS", 2)

    async def use(settlements: Settlements, told: Told) -> None:
        for octet in b"12345":
            settlements.commit(b"%c" % octet, b"%c" % octet)
            settlements.give_back(b"%c" % octet, b"%c" % (octet + 16), b"t", math.inf)
        assert settlements.waiting == 5
        assert settlements.take_up(b"3") is None
        await settlements.close()
        assert told.batches == [[b"D", b"E"], [b"3", b"4", b"5"]]

    run(use)

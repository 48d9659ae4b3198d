"""What there is room for, and more than that: connections, requests, octets."""

import asyncio

from enclave_server.http.budget import Admission, Budget, Share
from enclave_server.http.limits import Limits
from tests.support.outer_http import FAMILIES, MIB, Gate, ended, get, post
from tests.support.sockets import Recorder, run, serving


def admissions(budget: Budget, count: int) -> list[Share]:
    return [budget.admit() for _ in range(count)]


def test_connections_are_admitted_refused_and_dropped() -> None:
    budget = Budget(Limits(connections=2, refusals=1))
    shares = admissions(budget, 4)
    assert [share.admission for share in shares] == [
        Admission.ADMITTED,
        Admission.ADMITTED,
        Admission.REFUSED,
        Admission.DROPPED,
    ]
    assert (budget.connections, budget.refusing) == (4, 2)
    assert (budget.accepted, budget.refused) == (4, 2)
    for share in reversed(shares):
        share.give_back()
    assert (budget.connections, budget.refusing) == (0, 0)
    assert (budget.accepted, budget.refused) == (4, 2)
    assert budget.admit().admission is Admission.ADMITTED


def test_nothing_is_counted_before_it_happens() -> None:
    budget = Budget(Limits())
    assert (budget.connections, budget.refusing, budget.held) == (0, 0, 0)
    assert (budget.accepted, budget.refused) == (0, 0)
    assert (budget.answered, budget.abandoned) == (0, 0)
    assert not budget.is_full


def test_those_being_refused_take_nobodys_place() -> None:
    budget = Budget(Limits(connections=2))
    first, *_ = admissions(budget, 4)
    before = budget.is_full
    first.give_back()
    assert (before, budget.is_full) == (True, False)
    assert budget.admit().admission is Admission.ADMITTED


def test_what_is_held_is_given_back() -> None:
    budget = Budget(Limits())
    first, second = admissions(budget, 2)
    first.hold(100)
    second.hold(10)
    first.hold(70)
    assert budget.held == 80
    first.give_back()
    assert budget.held == 10
    second.hold(0)
    assert budget.held == 0


def test_room_for_octets() -> None:
    budget = Budget(Limits(buffered_bytes=1000, requests=10))
    first, second = admissions(budget, 2)
    assert first.has_room(5000)  # alone
    second.hold(600)
    assert first.has_room(400)
    assert not first.has_room(401)
    first.hold(300)
    assert first.has_room(400)  # instead of what it holds
    assert not first.has_room(401)
    second.hold(999)
    assert first.has_room(100)  # its share
    assert not first.has_room(101)


def test_turns() -> None:
    async def main() -> None:
        budget = Budget(Limits(requests=1))
        share = budget.admit()
        assert share.has_turn()
        task = asyncio.create_task(asyncio.sleep(0))
        budget.tasks.add(task)
        assert not share.has_turn()
        await task
        budget.tasks.discard(task)
        assert share.has_turn()

    run(main)


@FAMILIES
def test_connections_above_the_limit_get_an_orderly_503(family: str) -> None:
    async def main() -> None:
        limits = Limits(connections=3, retry_after_seconds=7)
        async with serving(Recorder(), family=family, limits=limits) as server:
            admitted = [await server.connect() for _ in range(3)]
            await server.until(lambda: server.server.counters.connections == 3)
            for _ in range(5):
                refused = await server.connect()
                await refused.send(post(MIB) + b"x" * MIB)
                answer = await refused.answer()
                assert (answer.status, answer.headers["retry-after"]) == (503, "7")
                refused.end()
                assert await refused.read_to_end() == b""
                refused.close()
            for peer in admitted:
                await peer.send(get())
                assert (await peer.answer()).status == 200
            admitted.pop().close()
            await server.until(lambda: server.server.counters.connections == 2)
            again = await server.connect()
            await again.send(get())
            assert (await again.answer()).status == 200
            assert server.server.counters.refused == 5

    run(main)


def test_refusals_have_a_limit_too() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(connections=1, refusals=2)) as server:
            peers = [await server.connect() for _ in range(5)]
            for peer in peers[3:]:
                assert await ended(peer)
            assert (await peers[2].answer()).status == 503

    run(main)


def test_requests_above_the_limit_get_a_503_and_keep_their_connection() -> None:
    async def main() -> None:
        gate = Gate()
        async with serving(gate, limits=Limits(requests=2)) as server:
            first, second, third = [await server.connect() for _ in range(3)]
            await first.send(get("/1"))
            await second.send(get("/2"))
            await server.until(lambda: gate.running == 2)
            await third.send(get("/3"))
            answer = await third.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            gate.open.set()
            await third.send(get("/4"))
            assert (await first.answer()).body == b"/1"
            assert (await third.answer()).status in (200, 503)

    run(main)


def test_uploads_together_have_a_limit() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=Limits(buffered_bytes=2 * MIB)) as server:
            patient, greedy = await server.connect(), await server.connect()
            await patient.send(post(2 * MIB) + b"x" * MIB)
            await server.until(lambda: server.server.counters.buffered_bytes >= MIB)
            await greedy.send(post(2 * MIB) + b"x" * (2 * MIB - 1))
            assert (await greedy.answer()).status == 503
            await patient.send(b"x" * MIB)
            assert (await patient.answer()).status == 200
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)


def test_requests_being_answered_count_with_their_copies() -> None:
    async def main() -> None:
        gate = Gate()
        limits = Limits(buffered_bytes=8 * MIB, body_copies=4, requests=100)
        async with serving(gate, limits=limits) as server:
            alone, upload, request, small = [await server.connect() for _ in range(4)]
            await alone.send(post(3 * MIB) + b"x" * (3 * MIB))
            await server.until(lambda: gate.running == 1)
            for peer, size in ((upload, MIB), (request, 60_000)):
                await peer.send(post(size) + b"x" * size)
                assert (await peer.answer()).status == 503
            await small.send(post(20_000) + b"x" * 20_000)
            await server.until(lambda: gate.running == 2)
            assert server.server.counters.buffered_bytes == 4 * (3 * MIB + 20_000)
            gate.open.set()
            assert [(await peer.answer()).status for peer in (alone, small)] == [200, 200]
            await server.until(lambda: server.server.counters.buffered_bytes == 0)

    run(main)


def test_as_many_requests_as_may_be_answered_leave_no_room_for_one_more() -> None:
    async def main() -> None:
        budget = Budget(Limits(requests=2))
        (share,) = admissions(budget, 1)
        for number in range(2):
            assert (budget.is_full, share.has_turn()) == (False, True), number
            budget.tasks.add(asyncio.create_task(asyncio.sleep(0)))
        assert (budget.is_full, share.has_turn()) == (True, False)
        await asyncio.gather(*budget.tasks)

    run(main)

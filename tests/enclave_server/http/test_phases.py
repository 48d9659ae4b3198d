"""Phases: which may follow which, and their deadlines, by the clock and at the socket."""

import asyncio
import dataclasses

import pytest

from enclave_server.http.phases import FOLLOWING, Due, Phase, Progress
from tests.support.outer_http import MIB, QUICK, get, post, refuse_refused
from tests.support.sockets import Recorder, run, serving

P = Phase
ALLOWED = {
    (P.IDLE, P.HEAD),  # some octets of a head
    (P.IDLE, P.BODY),  # a head, and not all of its body
    (P.IDLE, P.ANSWERING),  # a whole request
    (P.IDLE, P.LINGERING),  # octets that begin no request, or a connection too many
    (P.HEAD, P.IDLE),  # an empty line before a request, in two pieces
    (P.HEAD, P.BODY),
    (P.HEAD, P.ANSWERING),
    (P.HEAD, P.LINGERING),  # malformed, truncated or too slow
    (P.BODY, P.ANSWERING),
    (P.BODY, P.LINGERING),  # truncated, too slow or too much
    *((P.ANSWERING, next_request) for next_request in (P.IDLE, P.HEAD, P.BODY, P.ANSWERING)),
    (P.ANSWERING, P.LINGERING),  # the last answer of the connection
    *((phase, P.CLOSED) for phase in P if phase is not P.CLOSED),
}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def progress_in(phase: Phase, clock: Clock) -> Progress:
    """Return the progress of a connection that has come to `phase` just now."""
    progress = Progress(QUICK, clock)
    if phase is not Phase.IDLE:
        progress.enter(phase)
    return progress


def due_after(progress: Progress, clock: Clock, seconds: float, unsent: int = 0) -> Due | None:
    clock.now += seconds
    return progress.overdue(clock.now, unsent)


@pytest.mark.parametrize("before", Phase)
@pytest.mark.parametrize("after", Phase)
def test_which_phase_may_follow_which(before: Phase, after: Phase) -> None:
    assert (after in FOLLOWING[before]) == ((before, after) in ALLOWED)
    progress = progress_in(before, Clock())
    if (before, after) in ALLOWED:
        progress.enter(after)
        assert progress.phase is after
    else:
        with pytest.raises(RuntimeError, match=f"{after.name} cannot follow {before.name}"):
            progress.enter(after)
        assert progress.phase is before


@pytest.mark.parametrize(
    ("phase", "seconds", "due"),
    [
        (Phase.IDLE, QUICK.idle_seconds, Due.CLOSE),
        (Phase.HEAD, QUICK.head_seconds, Due.REFUSE),
        (Phase.BODY, QUICK.body_grace_seconds, Due.REFUSE),
        (Phase.LINGERING, QUICK.linger_seconds, Due.ABORT),
    ],
)
def test_a_phase_ends_when_its_time_is_over(phase: Phase, seconds: float, due: Due) -> None:
    clock = Clock()
    progress = progress_in(phase, clock)
    assert due_after(progress, clock, seconds * 0.99) is None
    assert due_after(progress, clock, seconds * 0.02) is due


def test_a_new_phase_has_its_own_time() -> None:
    clock = Clock()
    progress = progress_in(Phase.HEAD, clock)
    clock.now += QUICK.head_seconds * 2
    progress.enter(Phase.BODY)
    assert progress.overdue(clock.now, 0) is None


def test_nothing_has_arrived_at_first() -> None:
    assert Progress(QUICK, Clock()).received == 0


def test_an_upload_has_time_for_what_has_arrived() -> None:
    clock = Clock()
    progress = progress_in(Phase.BODY, clock)
    progress.received = 10 * QUICK.body_bytes_per_second
    assert due_after(progress, clock, QUICK.body_grace_seconds + 9.9) is None
    assert due_after(progress, clock, 0.2) is Due.REFUSE


def test_a_handler_may_take_its_time() -> None:
    clock = Clock()
    progress = progress_in(Phase.ANSWERING, clock)
    for _ in range(100):
        assert due_after(progress, clock, 10.0) is None


@pytest.mark.parametrize("phase", [Phase.ANSWERING, Phase.LINGERING])
def test_a_reader_must_read_on(phase: Phase) -> None:
    clock = Clock()
    progress = progress_in(phase, clock)
    for unsent in (500, 400, 300):
        assert due_after(progress, clock, QUICK.stall_seconds * 10, unsent) is None
    assert due_after(progress, clock, QUICK.stall_seconds * 0.99, 300) is None
    assert due_after(progress, clock, QUICK.stall_seconds * 0.02, 300) is Due.ABORT


@pytest.mark.parametrize("part", [b"G", get()[:-2], post(5), post(5) + b"hell"])
def test_a_slow_upload_is_a_408(part: bytes) -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            await peer.send(part)
            answer = await peer.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert answer.headers["content-type"] == "application/problem+json"
            assert await peer.read_to_end() == b""

    run(main)


def test_a_head_that_trickles_is_a_408() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            peer = await server.connect()
            for octet in get("/" + "a" * 500):
                try:
                    await peer.send(bytes([octet]))
                except (BrokenPipeError, ConnectionResetError):
                    break
                if server.server.counters.answered or server.log.getvalue():
                    break
                await asyncio.sleep(0.01)
            assert (await peer.answer()).status == 408

    run(main)


def test_an_upload_at_the_minimum_rate_is_served() -> None:
    async def main() -> None:
        limits = dataclasses.replace(QUICK, body_bytes_per_second=50)
        async with serving(Recorder(), limits=limits) as server:
            peer = await server.connect()
            await peer.send(post(1000))
            for _ in range(10):
                await peer.send(b"x" * 100)
                await asyncio.sleep(0.05)
            assert (await peer.answer()).status == 200

    run(main)


def test_an_idle_connection_is_closed() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK) as server:
            silent = await server.connect()
            served = await server.connect()
            await served.send(get())
            assert (await served.answer()).status == 200
            assert await silent.read_to_end() == b""
            assert await served.read_to_end() == b""

    run(main)


def test_a_peer_that_does_not_close_is_cut_off() -> None:
    async def main() -> None:
        async with serving(Recorder(), limits=QUICK, screen=refuse_refused) as server:
            peer = await server.connect()
            await peer.send(post(MIB, "/refused"))
            await server.until(lambda: server.server.counters.accepted == 1)
            await server.until(lambda: server.server.counters.connections == 0)
            assert (await peer.answer()).status == 403

    run(main)


@pytest.mark.parametrize(
    ("phase", "unsent", "seconds"),
    [
        (Phase.IDLE, 0, QUICK.idle_seconds),
        (Phase.HEAD, 0, QUICK.head_seconds),
        (Phase.BODY, 0, QUICK.body_grace_seconds),
        (Phase.ANSWERING, 9, QUICK.stall_seconds),
        (Phase.LINGERING, 0, QUICK.linger_seconds),
    ],
)
def test_a_deadline_has_passed_after_its_time_and_not_with_it(
    phase: Phase, unsent: int, seconds: float
) -> None:
    clock = Clock()
    clock.now = 0.0
    progress = progress_in(phase, clock)
    assert due_after(progress, clock, 0.0, unsent) is None
    assert due_after(progress, clock, seconds, unsent) is None
    assert due_after(progress, clock, seconds / 1000, unsent) is not None

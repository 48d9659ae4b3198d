"""The supervisor's loop without processes: what it does, in which order, and when it gives up."""

import io
import json
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from enclave_server.engine.child import Problem, State
from enclave_server.log import Log
from enclave_server.processes import supervisor as module
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.supervisor import (
    CLOCK_SECONDS,
    KILL_SECONDS,
    MAX_FAILURES,
    STARTING_TICK_SECONDS,
    TICK_SECONDS,
    EngineFails,
    Supervisor,
    WorkersFail,
)
from enclave_server.provision.proposal import Proposal
from enclave_server.security_module.clock import MAX_SKEW_SECONDS, ClockError
from enclave_server.security_module.nsm import NsmError

KEYS = object()
SECRETS = Proposal(b"1", {"upstream": "sk-secret"}, {})
GRACE = 5.0


class Clock:
    """Time that passes only while somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Signals:
    """Waits without waiting; at the given waits something happens, at the last the end."""

    def __init__(self, clock: Clock, happens: dict[int, Callable[[], object]], ends: int) -> None:
        self.count = 0
        self.waited: list[float] = []
        self._clock, self._happens, self._ends = clock, happens, ends

    def wait(self, others: Sequence[object], seconds: float) -> None:
        self.waited.append(seconds)
        self.others = list(others)
        self._clock.now += seconds
        self._happens.get(len(self.waited), lambda: None)()
        if len(self.waited) == self._ends:
            self.count += 1


class Worker:
    channel = None


class Pool:
    """Notes what it is told; its one worker ends by itself, or by SIGKILL."""

    def __init__(self) -> None:
        self.settled, self.failures = True, 0
        self.workers = [Worker()]
        self.calls: list[Any] = []
        self.standings: list[object] = []
        self.proposals: list[bytes] = []
        self.stubborn = False
        self.killed_at = 0

    def tend(self, now: float) -> None:
        self.calls.append("tend")

    def publish(
        self, keys: object, now: float, provisioned: Proposal | None, standing: object
    ) -> None:
        assert keys is KEYS
        self.standings.append(standing)
        self.calls.append(("publish", provisioned))

    def take_proposals(self) -> list[bytes]:
        taken, self.proposals = self.proposals, []
        return taken

    def signal(self, number: signal.Signals) -> None:
        self.calls.append(number)
        if number == signal.SIGKILL:
            self.stubborn = False

    def watch(self, now: float) -> None:
        self.calls.append("watch")
        if not self.stubborn:
            self.workers = []


class Keeper:
    """Has keys that change when told to, or evidence that fails."""

    keys = KEYS

    def __init__(self) -> None:
        self.changes = 0
        self.failure: NsmError | None = None
        self.settled: list[bool] = []
        self.forgotten = False

    def step(self, now: float, *, settled: bool) -> bool:
        self.settled.append(settled)
        self.changes -= 1
        return self.changes >= 0

    def forget(self) -> None:
        self.forgotten = True


class Engine:
    """Goes through states, the last of which stays."""

    starts, hung = 1, 0
    problem: Problem | None = None

    def __init__(self, *states: State) -> None:
        self._states = list(states)

    def poll(self, now: float) -> State:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


class Case:
    """A supervisor, all that is around it, and what came of it."""

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        engine: Engine | None = None,
        wants_secrets: bool = False,
        member: Any = None,
    ) -> None:
        self.clock = Clock()
        monkeypatch.setattr(time, "monotonic", self.clock)
        monkeypatch.setattr(module, "ptp_time", self.ask_reference)
        self.reference: Callable[[], float | None] = lambda: None
        self.asked: list[float] = []
        self.happens: dict[int, Callable[[], object]] = {}
        self.signals = Signals(self.clock, self.happens, ends=4)
        self.pool, self.keeper, self.readiness = Pool(), Keeper(), Readiness()
        self.stream = io.StringIO()
        self.told: list[str] = []
        self.ready: list[bool] = []
        parts: Any = (self.signals, self.keeper, engine, Log(self.stream), self.readiness)
        self.hours: list[float] = []
        self.supervisor = Supervisor(
            *parts,
            wants_secrets=wants_secrets,
            grace_seconds=GRACE,
            member=member,
            hourly=lambda: self.hours.append(self.clock.now),
        )

    def ask_reference(self) -> float | None:
        self.asked.append(self.clock.now)
        return self.reference()

    def serve(self, ends: int = 4) -> None:
        self.signals._ends = ends
        pool: Any = self.pool

        def on_ready() -> None:
            self.told.append("ready")
            self.ready.append(bool(self.readiness))

        def on_end() -> None:
            self.told.append("end")
            self.pool.calls.append("end")

        self.supervisor.serve(pool, on_ready, on_end)

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [line for line in lines if line["event"] == name]


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(monkeypatch)


def test_it_serves_until_it_is_told_to_end(case: Case) -> None:
    case.serve(ends=3)
    assert case.pool.calls == [
        ("publish", None),
        *["tend"] * 3,
        "end",
        signal.SIGTERM,
        "watch",
        signal.SIGKILL,
    ]
    assert case.told == ["ready", "end"]
    assert case.ready == [True]
    assert not case.readiness
    assert case.events("stopping")[0]["workers"] == 1
    assert len(case.events("stopped")) == 1
    assert case.pool.standings == [None]  # there is no cluster


def test_it_looks_more_often_until_it_is_ready(case: Case) -> None:
    case.pool.settled = False
    case.happens[2] = lambda: setattr(case.pool, "settled", True)
    case.serve(ends=4)
    assert case.signals.waited[:4] == [STARTING_TICK_SECONDS] * 2 + [TICK_SECONDS] * 2
    assert case.keeper.settled == [False, False, True, True]
    assert case.told == ["ready", "end"]


@pytest.mark.parametrize("failures", [0, MAX_FAILURES - 1])
def test_some_failures_are_borne(case: Case, failures: int) -> None:
    case.pool.failures, case.pool.settled = failures, False
    case.serve()
    assert case.told == ["end"]


def test_after_five_failures_it_gives_up(case: Case) -> None:
    assert MAX_FAILURES == 5
    case.pool.failures = 5
    with pytest.raises(WorkersFail):
        case.serve()
    assert case.told == ["end"]
    assert signal.SIGTERM in case.pool.calls


def test_failures_of_a_server_that_has_served_are_borne(case: Case) -> None:
    case.happens[1] = lambda: setattr(case.pool, "failures", 100)
    case.serve()
    assert case.told == ["ready", "end"]


def test_an_engine_is_waited_for_and_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    states = (State.STARTING, State.STARTING, State.READY, State.WAITING)
    case = Case(monkeypatch, Engine(*states))
    case.serve(ends=5)
    assert [event["state"] for event in case.events("engine")] == ["starting", "ready", "waiting"]
    assert case.events("engine")[0]["starts"] == 1
    assert case.signals.waited[:4] == [STARTING_TICK_SECONDS] * 2 + [TICK_SECONDS] * 2
    assert case.ready == [True]


def test_a_server_is_ready_while_its_engine_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, Engine(State.STARTING, State.READY, State.WAITING, State.READY))
    seen: list[bool] = []
    for wait in range(1, 5):
        case.happens[wait] = lambda: seen.append(bool(case.readiness))
    case.serve(ends=5)
    assert seen == [False, True, False, True]


def test_an_engine_that_cannot_run_ends_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(State.FAILED)
    engine.problem = Problem.NO_AVX2
    with pytest.raises(EngineFails, match="AVX2"):
        Case(monkeypatch, engine).serve()


def test_secrets_are_taken_once_and_make_it_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(monkeypatch, wants_secrets=True)
    seen: list[bool] = []
    other = Proposal(b"2", {"upstream": "another"}, {})

    def hand_over() -> None:
        seen.append(bool(case.readiness))
        case.pool.proposals = [SECRETS.encode()]

    def hand_over_others() -> None:
        seen.append(bool(case.readiness))
        case.pool.proposals = [other.encode()]

    case.happens.update({1: hand_over, 2: hand_over_others})
    case.serve()
    assert seen == [False, True]
    assert [call for call in case.pool.calls if isinstance(call, tuple)] == [
        ("publish", None),
        ("publish", SECRETS),
    ]
    assert len(case.events("provisioned")) == 1
    assert "sk-secret" not in case.stream.getvalue()


def test_new_keys_are_published_once(case: Case) -> None:
    case.happens[2] = lambda: setattr(case.keeper, "changes", 1)
    case.serve()
    assert case.pool.calls.count(("publish", None)) == 2


def test_a_failure_of_evidence_is_told_of_once(case: Case) -> None:
    failure = NsmError("InternalError", "it failed internally")
    case.happens[1] = lambda: setattr(case.keeper, "failure", failure)
    case.happens[3] = lambda: setattr(case.keeper, "failure", None)
    case.happens[4] = lambda: setattr(case.keeper, "failure", failure)
    case.serve(ends=6)
    assert [event["code"] for event in case.events("evidence_failed")] == ["InternalError"] * 2


def test_the_clock_is_compared_once_a_minute(case: Case) -> None:
    case.serve(ends=int(2.5 * CLOCK_SECONDS / TICK_SECONDS))
    assert case.asked == pytest.approx([1000, 1060, 1120], abs=TICK_SECONDS)


@pytest.mark.parametrize("skew", [-MAX_SKEW_SECONDS - 1, MAX_SKEW_SECONDS + 1])
def test_a_clock_that_is_wrong_ends_it(case: Case, skew: float) -> None:
    case.reference = lambda: time.time() + skew
    with pytest.raises(ClockError, match="PTP device"):
        case.serve()
    assert case.told == ["end"]


def test_a_clock_that_is_right_does_not(case: Case) -> None:
    case.reference = time.time
    case.serve()


def test_who_does_not_end_is_killed_after_the_grace_time(case: Case) -> None:
    case.pool.stubborn = True
    case.serve(ends=1)
    ended = case.clock.now - STARTING_TICK_SECONDS - 1000
    assert GRACE + KILL_SECONDS <= ended <= GRACE + KILL_SECONDS + 3 * TICK_SECONDS
    calls = [call for call in case.pool.calls if call not in ("watch", "tend")]
    assert calls[-2:] == [signal.SIGTERM, signal.SIGKILL]
    assert case.pool.workers == []


def test_a_second_signal_ends_the_grace_time(case: Case) -> None:
    case.pool.stubborn = True
    case.happens[2] = lambda: setattr(case.signals, "count", 2)
    case.serve(ends=1)
    assert case.clock.now - 1000 < GRACE


def test_a_worker_to_be_forgets_keys_and_secrets(case: Case) -> None:
    case.happens[1] = lambda: case.pool.proposals.append(SECRETS.encode())
    case.serve()
    assert case.supervisor._acceptance.accepted == SECRETS
    case.supervisor.forget()
    assert case.keeper.forgotten
    assert case.supervisor._acceptance.accepted is None


def test_what_is_hourly_is_done_at_the_start_and_then_each_hour(case: Case) -> None:
    case.serve(ends=int(2.5 * 3600 / TICK_SECONDS))
    assert case.hours == pytest.approx([1000, 4600, 8200], abs=TICK_SECONDS)


class Member:
    """A part in a cluster that moves, announces and hands on what the test says."""

    standing = "standing"
    sockets = ("socket",)

    def __init__(self) -> None:
        self.moves = self.announces = False
        self.settled: list[bool] = []
        self.passed: list[tuple[list[bytes], bytes]] = []
        self.accepts: list[bytes] = []
        self.calls: list[str] = []

    def step(self, unix: float, now: float, *, settled: bool) -> bool:
        assert unix > now  # of two clocks
        self.settled.append(settled)
        moves, self.moves = self.moves, False
        return moves

    def may_announce(self, now: float) -> bool:
        return self.announces

    def pass_on(self, proposals: list[bytes], accepted: bytes) -> list[bytes]:
        self.passed.append((list(proposals), accepted))
        return self.accepts

    def leave(self) -> None:
        self.calls.append("leave")

    def forget(self) -> None:
        self.calls.append("forget")


def test_a_member_moves_with_the_workers_and_they_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    member = Member()
    case = Case(monkeypatch, member=member)
    case.happens[1] = lambda: setattr(member, "announces", True)
    case.happens[2] = lambda: setattr(case.pool, "settled", False)
    case.happens[3] = lambda: setattr(member, "moves", True)
    case.pool.stubborn = True
    waited_for: list[object] = []
    case.happens[4] = lambda: waited_for.extend(case.signals.others)
    case.serve(ends=5)
    assert member.settled == [True, True, False, False, False]
    # Keys are announced where the workers have them, and all other enclaves.
    assert case.keeper.settled == [False, True, False, False, False]
    assert case.pool.calls.count(("publish", None)) == 2
    assert case.pool.standings == ["standing"] * 2
    assert waited_for == [None, "socket"]
    assert member.calls == ["leave"]
    assert case.signals.others == [None]  # afterwards nobody waits for other enclaves


def test_in_a_cluster_its_leader_says_which_secrets_are_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    member = Member()
    case = Case(monkeypatch, wants_secrets=True, member=member)
    case.happens[1] = lambda: setattr(case.pool, "proposals", [b"a worker's"])
    case.happens[2] = lambda: setattr(member, "accepts", [SECRETS.encode()])
    case.serve(ends=4)
    nothing = SECRETS.encode()[:0]
    assert member.passed == [
        ([], nothing),
        ([b"a worker's"], nothing),
        ([], nothing),
        ([], SECRETS.encode()),
    ]
    assert case.supervisor._acceptance.accepted == SECRETS


def test_a_worker_to_be_forgets_its_parents_part_in_a_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    member = Member()
    Case(monkeypatch, member=member).supervisor.forget()
    assert member.calls == ["forget"]

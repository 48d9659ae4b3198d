"""The parent process: it keeps keys and evidence, the workers and the embedded engine.

It answers no request and runs no event loop, so that it can fork at any time: a loop over what is
due, woken by signals, by its workers' messages and a few times a second.
"""

import math
import signal
import time
from collections.abc import Callable

from enclave_server.cluster.member import Member
from enclave_server.engine.child import Engine, State
from enclave_server.keys.keeper import KeyKeeper
from enclave_server.log import Log
from enclave_server.processes.pool import Pool
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.provision.desk import Acceptance
from enclave_server.security_module.clock import check_clock, ptp_time

TICK_SECONDS = 0.25
"""How late anything may be that is due by the clock and announced by nothing else."""

STARTING_TICK_SECONDS = 0.02
"""The same until everything serves for the first time, which somebody waits for."""

CLOCK_SECONDS = 60.0
"""Between comparisons with the hypervisor's clock."""

HOUR_SECONDS = 3600.0

KILL_SECONDS = 2.0
"""After the grace time, for workers to end by themselves."""

MAX_FAILURES = 5
"""Workers that end one after the other before one serves: the server gives up."""


class WorkersFail(Exception):
    """Workers end before they serve, again and again."""


class EngineFails(Exception):
    """The embedded engine cannot run here; the text says what to do about it."""


class Supervisor:
    """Runs a server until it is told to end."""

    def __init__(
        self,
        signals: StopSignals,
        keeper: KeyKeeper,
        engine: Engine | None,
        log: Log,
        readiness: Readiness,
        *,
        wants_secrets: bool,
        grace_seconds: float,
        member: Member | None = None,
        hourly: Callable[[], None] = lambda: None,
    ) -> None:
        """Without the secrets that it wants a server is not ready, though it serves.

        `member` is this enclave's part in a cluster, if it has one; `hourly` is called at the
        start, and then once an hour.
        """
        self._hourly, self._hour_due = hourly, -math.inf
        self._signals = signals
        self._keeper = keeper
        self._member = member
        self._engine = engine
        self._engine_state = State.STOPPED
        self._log = log
        self._acceptance = Acceptance()
        self._readiness = readiness
        self._wants_secrets = wants_secrets
        self._grace = grace_seconds
        self._clock_due = -math.inf
        self._was_failing = False

    def forget(self) -> None:
        """Drop all private keys and secrets: this process is a worker now."""
        self._keeper.forget()
        self._acceptance.forget()
        if self._member is not None:
            self._member.forget()

    def serve(self, pool: Pool, on_ready: Callable[[], None], on_end: Callable[[], None]) -> None:
        """Keep `pool` serving until a signal; raises ClockError, EngineFails, WorkersFail.

        `on_ready` is called once, when all workers accept connections and the engine answers;
        `on_end` before the workers drain.
        """
        try:
            self._loop(pool, on_ready)
        finally:
            on_end()
            self._end(pool)

    def _loop(self, pool: Pool, on_ready: Callable[[], None]) -> None:
        self._publish(pool)
        was_ready = False
        while not self._signals.count:
            now = time.monotonic()
            self._check_clock(now)
            self._do_hourly(now)
            pool.tend(now)
            self._tend_engine(now)
            if not was_ready and self._is_ready(pool):
                was_ready = True
                on_ready()
            self._take_secrets(pool)
            self._keep_keys(pool)
            self._wait(pool, TICK_SECONDS if was_ready else STARTING_TICK_SECONDS)

    def _is_ready(self, pool: Pool) -> bool:
        """Whether everything serves for the first time; raises what makes it hopeless."""
        if pool.failures >= MAX_FAILURES:
            raise WorkersFail
        if self._engine is not None and self._engine.problem is not None:
            raise EngineFails(self._engine.problem.sentence)
        return pool.settled and self._engine_answers()

    def _engine_answers(self) -> bool:
        return self._engine is None or self._engine_state is State.READY

    def _tell_readiness(self) -> None:
        provisioned = self._acceptance.accepted is not None or not self._wants_secrets
        self._readiness.tell(self._engine_answers() and provisioned)

    def _tend_engine(self, now: float) -> None:
        if self._engine is None:
            return
        state = self._engine.poll(now)
        if state is not self._engine_state:
            self._engine_state = state
            self._tell_readiness()
            starts, hung = self._engine.starts, self._engine.hung
            self._log.event("engine", state=state.name.lower(), starts=starts, hung=hung)

    def _publish(self, pool: Pool) -> None:
        self._tell_readiness()  # before whoever handed over secrets learns that they are there
        standing = None if self._member is None else self._member.standing
        pool.publish(self._keeper.keys, time.monotonic(), self._acceptance.accepted, standing)

    def _take_secrets(self, pool: Pool) -> None:
        if self._acceptance.consider(self._proposals(pool)):
            self._publish(pool)
            self._log.event("provisioned")

    def _proposals(self, pool: Pool) -> list[bytes]:
        """Return what may be accepted: in a cluster, what its leader accepts or has accepted."""
        proposals = pool.take_proposals()
        if self._member is None:
            return proposals
        accepted = self._acceptance.accepted
        return self._member.pass_on(proposals, b"" if accepted is None else accepted.encode())

    def _keep_keys(self, pool: Pool) -> None:
        settled, has_moved = pool.settled, False
        if self._member is not None:
            now = time.monotonic()
            has_moved = self._member.step(time.time(), now, settled=settled)
            settled = settled and self._member.may_announce(now)
        if self._keeper.step(time.time(), settled=settled) or has_moved:
            self._publish(pool)
        failure = self._keeper.failure
        if failure is not None and not self._was_failing:
            self._log.event("evidence_failed", code=failure.code)
        self._was_failing = failure is not None

    def _check_clock(self, now: float) -> None:
        if now < self._clock_due:
            return
        self._clock_due = now + CLOCK_SECONDS
        reference = ptp_time()
        if reference is not None:
            check_clock(time.time(), {"PTP device": reference})

    def _do_hourly(self, now: float) -> None:
        if now >= self._hour_due:
            self._hour_due = now + HOUR_SECONDS
            self._hourly()

    def _end(self, pool: Pool) -> None:
        """Let the workers finish, and end what is left after the grace time, or a second signal."""
        self._readiness.tell(False)
        self._log.event("stopping", workers=len(pool.workers))
        if self._member is not None:
            self._member.leave()
            self._member = None
        pool.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace + KILL_SECONDS
        pool.watch(time.monotonic())
        while pool.workers and time.monotonic() < deadline and self._signals.count < 2:
            self._wait(pool)
            pool.watch(time.monotonic())
        pool.signal(signal.SIGKILL)
        while pool.workers:
            self._wait(pool)
            pool.watch(time.monotonic())
        self._log.event("stopped")

    def _wait(self, pool: Pool, seconds: float = TICK_SECONDS) -> None:
        channels = [worker.channel for worker in pool.workers]
        peers = [] if self._member is None else self._member.sockets
        self._signals.wait([*channels, *peers], seconds)

"""The process beside HAProxy: it reads what each enclave states, and keeps HAProxy's map by it.

A round is: ask HAProxy for its servers, its map and its counts; ask every enclave that is not taken
out; decide; tell HAProxy what differs. Nothing is remembered but how often an enclave has not
answered, so that an HAProxy that starts again is told all in the next round. It carries nothing,
holds no secret, and when it ends HAProxy goes on with what it was told last.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from host_proxy import haproxy
from host_proxy.addresses import Address, AddressError, Tcp
from host_proxy.exposition import text
from host_proxy.figures import Figures, families
from host_proxy.haproxy import Admission, Overview, RuntimeFault
from host_proxy.log import log
from host_proxy.places import Alarm, Member, Plan, plan
from host_proxy.question import Question
from host_proxy.service import Service
from host_proxy.statements import Statement
from host_proxy.survey import Survey

RUNTIME_BYTES: Final = 1 << 22  # of one answer of HAProxy's: a full map has 65,536 lines of 40
RUNTIME_SECONDS: Final = 2.0
MISSES: Final = 2  # rounds in a row without a statement until an enclave has no place any more
PATIENCE: Final = 10  # rounds for which something may look wrong before it is an alarm


class Front:
    """Everything the process does between its start and its exit."""

    def __init__(self, runtime: Address, pause: float, service: Service) -> None:
        self.figures = Figures()
        self._runtime = runtime
        self._pause = pause
        self._service = service
        self._loop = service.loop
        self._last: dict[str, Statement] = {}
        self._misses: Counter[str] = Counter()
        self._lasting: Counter[Alarm] = Counter()
        self._settled = False

    def open(self) -> None:
        """Listen for scrapers, or raise ListenError or AddressError."""
        self._service.open(lambda: text(families(self.figures)))

    def run(self) -> int:
        """Go round until SIGTERM or SIGINT; return the exit code."""
        self._service.run(self._start, self.figures.as_dict)
        return 0

    def _start(self) -> None:
        log("fronting", address=str(self._runtime))
        self._begin()

    # --- a round

    def _begin(self) -> None:
        self._ask(haproxy.OVERVIEW, self._overview_came)

    def _overview_came(self, said: bytes) -> None:
        overview = haproxy.overview(said)
        self._ask(
            haproxy.show_map(overview.map_reference),
            lambda answer: self._map_came(overview, haproxy.entries(answer)),
        )

    def _map_came(self, overview: Overview, present: dict[str, str]) -> None:
        asked = [s for s in overview.servers if s.admission is not Admission.OUT]
        waiting = {server.name for server in asked}

        def take(name: str, said: Statement | None) -> None:
            self._note(name, said)
            waiting.discard(name)
            if not waiting:
                self._decide(overview, present)

        if not asked:
            self._decide(overview, present)
        for server in asked:
            Survey(
                self._loop,
                self._service.resolver,
                Tcp(server.host, server.port),
                partial(take, server.name),
            ).start()

    def _note(self, name: str, said: Statement | None) -> None:
        """Remember what an enclave has said; forget it when it has been silent for too long."""
        if said is not None:
            self._misses.pop(name, None)
            if name not in self._last:
                log("member_answers", member=name, keys=list(said.keys))
            self._last[name] = said
            return
        self.figures.silences += 1
        self._misses[name] += 1
        if self._misses[name] >= MISSES and self._last.pop(name, None) is not None:
            log("member_lost", member=name)

    def _decide(self, overview: Overview, present: dict[str, str]) -> None:
        members = [Member(server, self._last.get(server.name)) for server in overview.servers]
        decided = plan(members, present)
        changes = haproxy.changes(present, decided.places)
        for change in changes:
            self.figures.changes[change.kind] += 1
        commands = [each.command(overview.map_reference) for each in changes]
        commands += [
            haproxy.weight(server.name, decided.weights[server.name])
            for server in overview.servers
            if decided.weights.get(server.name, server.weight) != server.weight
        ]
        if commands:
            log("told", changes=len(changes), weights=len(commands) - len(changes))
        self.figures.take(decided, overview)
        self._tell(list(haproxy.batches(commands)), decided)

    def _tell(self, lines: list[bytes], decided: Plan) -> None:
        if not lines:
            self._finish(decided.alarms)
            return
        self._ask(lines[0], lambda _: self._tell(lines[1:], decided))

    def _finish(self, alarms: frozenset[Alarm]) -> None:
        self.figures.rounds += 1
        self._sound(alarms)
        if not self._settled:
            self._settled = True
            self._service.notifier.tell("READY=1", "STATUS=HAProxy has been told all")
            log("ready")
        self._loop.later(self._pause, self._begin)

    def _sound(self, alarms: frozenset[Alarm]) -> None:
        """Raise what has lasted and end what is over."""
        for alarm in Alarm:
            self._lasting[alarm] = self._lasting[alarm] + 1 if alarm in alarms else 0
            lasts = self._lasting[alarm] >= PATIENCE
            if lasts and alarm not in self.figures.alarms:
                self.figures.alarms.add(alarm)
                log("alarm", alarm=alarm.value)
            elif not lasts and alarm in self.figures.alarms:
                self.figures.alarms.discard(alarm)
                log("alarm_over", alarm=alarm.value)

    # --- HAProxy

    def _ask(self, line: bytes, then: Callable[[bytes], None]) -> None:
        def done(said: bytes | None) -> None:
            if said is None or len(said) >= RUNTIME_BYTES:
                self._fail("no answer")
                return
            try:
                then(said)
            except (RuntimeFault, AddressError) as fault:
                self._fail(str(fault))

        Question(
            self._loop,
            self._service.resolver,
            self._runtime,
            line,
            limit=RUNTIME_BYTES,
            seconds=RUNTIME_SECONDS,
            done=done,
        ).start()

    def _fail(self, reason: str) -> None:
        """Give this round up and begin another."""
        if not self._lasting[Alarm.UNREACHABLE]:
            log("haproxy_unreachable", reason=reason)
        self.figures.failed_rounds += 1
        self._sound(frozenset({Alarm.UNREACHABLE, *self.figures.alarms}))
        self._loop.later(self._pause, self._begin)

"""One round's questions to one enclave: its list of keys, its place in a cluster, its readiness."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from host_proxy import statements
from host_proxy.addresses import Address
from host_proxy.loop import Loop
from host_proxy.question import Question
from host_proxy.resolver import Resolver
from host_proxy.statements import Statement, StatementError

ANSWER_BYTES: Final = 1 << 18  # of a list of keys or a statement, far above what either has
SECONDS: Final = 1.0  # for one answer: a front that knows less often than every 2 s knows too late

PATHS: Final = (statements.KEYS_PATH, statements.CLUSTER_PATH, statements.READY_PATH)


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back, by path; None for a miss."""

    by_path: dict[str, bytes | None]

    def statement(self) -> Statement | None:
        """Return what the enclave has said, None if it did not answer or said something else."""
        try:
            status, listed = self._read(statements.KEYS_PATH)
            if status != 200:
                return None
            keys = statements.key_identifiers(listed)
            stated, body = self._read(statements.CLUSTER_PATH)
            cluster = statements.cluster(body) if stated == 200 else None
            ready = self._read(statements.READY_PATH)[0] == 200
        except StatementError:
            return None
        return Statement(keys, listed, ready, cluster)

    def _read(self, path: str) -> tuple[int, bytes]:
        return statements.answer(self.by_path.get(path) or b"")


class Survey:
    """The questions under way; exactly one call to `done`, when all have an answer or a miss."""

    __slots__ = ("_answers", "_done", "_questions")

    def __init__(
        self,
        loop: Loop,
        resolver: Resolver,
        address: Address,
        done: Callable[[Statement | None], None],
    ) -> None:
        self._answers: dict[str, bytes | None] = {}
        self._done = done
        self._questions = [
            Question(
                loop,
                resolver,
                address,
                statements.request(path),
                limit=ANSWER_BYTES,
                seconds=SECONDS,
                done=self._taking(path),
            )
            for path in PATHS
        ]

    def start(self) -> None:
        """Ask; `done` may be called at once."""
        for question in self._questions:
            question.start()

    def _taking(self, path: str) -> Callable[[bytes | None], None]:
        def take(data: bytes | None) -> None:
            self._answers[path] = data
            if len(self._answers) == len(PATHS):
                self._done(Answers(self._answers).statement())

        return take

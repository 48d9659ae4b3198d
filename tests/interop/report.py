"""What came of the matrix: printed at the end of a run, and written to docs/interop.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protocol.kem import X25519_HKDF_SHA256, X_WING, Kem
from tests.interop.cells import (
    SUITES,
    X_WING_FORMS,
    Cell,
    Fails,
    Form,
    Framing,
    NotOffered,
    Role,
    limit,
)
from tests.interop.peers import PEERS

PASSED = "passed"
SHORT = {X_WING.code: X_WING.name, X25519_HKDF_SHA256.code: "X25519"}
ROWS = [
    *((framing, form, X25519_HKDF_SHA256) for framing in Framing for form in Form),
    *((framing, form, X_WING) for framing, form in X_WING_FORMS.items()),
]
PARTS = Path(__file__).resolve().parent / "parts"


@dataclass(slots=True)
class Report:
    """The outcome of every cell that was run: `passed`, or why not."""

    outcomes: dict[Cell, str] = field(default_factory=dict)
    chats: dict[tuple[str, str], str] = field(default_factory=dict)
    hpke: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Return one line per peer, role, framing and form, with the suites that share it."""
        found = []
        for peer in PEERS:
            for role in Role:
                found += [f"{peer.name:10} {row}" for row in self._rows(peer.name, role)]
        return found + [f"{' '.join(alone)}: {came}" for alone, came in self.hpke.items()]

    def counts(self) -> str:
        """Return how many cells passed, how many a peer has no way to fill or fails."""
        limits = [limit(cell) for cell in self.outcomes]
        passed = sum(outcome == PASSED for outcome in self.outcomes.values())
        not_offered = sum(isinstance(found, NotOffered) for found in limits)
        fails = sum(isinstance(found, Fails) for found in limits)
        return (
            f"{len(self.outcomes)} cells: {passed} passed, {not_offered} not offered by the peer, "
            f"{fails} in which the peer fails"
        )

    def _rows(self, peer: str, role: Role) -> list[str]:
        rows = []
        for framing, form, kem in ROWS:
            outcomes = self._outcomes(peer, role, framing, form, kem)
            if outcomes:
                name = f"{role.value:8}{framing.value:8}{form.value:14}{kem.name:19}"
                rows.append(name + shared(outcomes))
        return rows

    def _outcomes(
        self, peer: str, role: Role, framing: Framing, form: Form, kem: Kem
    ) -> Mapping[str, str]:
        named = {SUITES[suite]: Cell(peer, role, framing, form, suite, kem) for suite in SUITES}
        return {name: self.outcomes[cell] for name, cell in named.items() if cell in self.outcomes}

    def markdown(self) -> str:
        """Return the document: what stays as written by hand, and the tables of this run."""
        sections = [(PARTS / "introduction.md").read_text()]
        sections += [self.counts() + ".\n", *(self._table(role) for role in Role)]
        sections += [self._chat_table(), self._hpke_table(), (PARTS / "differences.md").read_text()]
        return "\n".join(sections)

    def _table(self, role: Role) -> str:
        other = (
            "our gateway, through a relay and host_proxy" if role is Role.CLIENT else "our client"
        )
        lines = [f"## The peer is the {role.value}, with {other}\n"]
        lines += [
            "| peer | mechanism | framing | Binary HTTP | " + " | ".join(SUITES.values()) + " |"
        ]
        lines += ["| --- | --- | --- | --- |" + " --- |" * len(SUITES)]
        for peer in PEERS:
            for framing, form, kem in ROWS:
                found = self._outcomes(peer.name, role, framing, form, kem)
                cells = [found.get(name, "not run") for name in SUITES.values()]
                row = (peer.name, SHORT[kem.code], framing.value, form.value, *cells)
                lines.append("| " + " | ".join(row) + " |")
        return "\n".join(lines) + "\n"

    def _hpke_table(self) -> str:
        lines = [
            "## HPKE alone, each end with the other's\n",
            "| peer | mechanism | suite | outcome |",
            "| --- | --- | --- | --- |",
        ]
        lines += [f"| {' | '.join(alone)} | {came} |" for alone, came in self.hpke.items()]
        return "\n".join(lines) + "\n"

    def _chat_table(self) -> str:
        lines = [
            "## A sealed chat question\n",
            "| peer | question | outcome |",
            "| --- | --- | --- |",
        ]
        lines += [f"| {peer} | {what} | {came} |" for (peer, what), came in self.chats.items()]
        return "\n".join(lines) + "\n"


def shared(outcomes: Mapping[str, str]) -> str:
    """Return the outcomes of several suites, shortened where they are the same."""
    if len(set(outcomes.values())) == 1:
        return next(iter(outcomes.values()))
    return "; ".join(f"{suite}: {outcome}" for suite, outcome in outcomes.items())

"""The part of the page on what is paid, refused and free."""

from __future__ import annotations

from collections.abc import Sequence

from scripts.observer.finding import Finding, verdict_rows
from scripts.observer.payments import KINDS

HEADING = "## Paid, refused and free\n"

SECTION = """\
{heading}
Where models are paid for, a question brings a token inside its seal, of whatever price, or it does
not; it is answered or refused. Short questions of one size, half of which ask for a stream:

{kinds}

| padding | classifier | answers | told right | 95 % interval | above guessing |
| --- | --- | --- | --- | --- | --- |
{verdicts}

A refusal is as long as a short answer, and to verify a token, and to look for it among the spent
ones, is done before the next tick. Guessing is right {chance:.1f} % of the time, and over as many
answers with padding it comes within {spread:.1f} points of that, nineteen times in twenty. What
comes in one piece (`message/ohttp-req`) comes as soon as it is there: a refusal shows by its time
that no model was waited for.
"""

ALONE = """
This table is of a run of its own, `scripts/leak --payments`.
"""


def section(findings: Sequence[Finding]) -> str:
    """Return the part; the last finding is that with padding."""
    kinds = [f"- `{kind}`: {(make.__doc__ or '').rstrip('.')}" for kind, make in KINDS.items()]
    verdict = findings[-1].verdicts[0]
    return SECTION.format(
        heading=HEADING,
        kinds=";\n".join(kinds) + ".",
        verdicts=verdict_rows(findings),
        chance=100 * verdict.chance,
        spread=100 * verdict.spread,
    )

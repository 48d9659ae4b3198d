"""Play an observer at the relay: record sizes and times of answers, try to tell them apart.

    scripts/leak [--quick] [--questions | --payments | --shortest] [--of-each N] [--at-once N]
                 [--folder FOLDER]

Writes leak.md, leak.json and leak.svg into FOLDER (docs). Takes about sixteen minutes. --quick asks
few questions, none of them to the embedded model, and proves little: it writes nothing unless
FOLDER is given. --shortest measures the shortest answer alone, --payments what is paid, refused and
free, and each writes only its part anew.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from enclave_server.config import StreamTable
from protocol.shaping import GeometricSeries
from scripts.local import processes
from scripts.local.gateway import newest_key
from scripts.local.stack import Stack, StackError
from scripts.observer import (
    answers,
    drawing,
    finding,
    payment_page,
    payments,
    questions,
    shortest,
    telling,
    watching,
)
from scripts.observer.finding import Finding

ROOT = Path(__file__).resolve().parents[2]
RECORDINGS = 6  # answers of the embedded model to each question
PAYMENTS_FACTOR = 3  # of few kinds, so that each needs more answers to be told by
LARGE_AT_ONCE = 4  # large questions at a time: the observer has to seal them on the same machine
SEALED_OVERHEAD = 18  # octets around a chunk's plaintext: its length and the tag
CONFIGURATION = """
[stream]
padding = "{padding}"
series_first = {first}
[[models]]
name = "scripted"
upstream = "scripted"
[upstreams.scripted]
address = "unix:{socket}"
"""


def parse() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/leak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="take seconds, prove little")
    parser.add_argument("--of-each", type=int, default=240, help="answers of each kind")
    parser.add_argument("--at-once", type=int, default=40, help="questions at a time")
    parser.add_argument("--folder", type=Path, help="where to write")
    parser.add_argument(
        "--questions", action="store_true", help="large questions alone; writes nothing"
    )
    parser.add_argument("--payments", action="store_true", help="paid, refused and free alone")
    parser.add_argument("--shortest", action="store_true", help="the shortest answer alone")
    options = parser.parse_args()
    if options.questions:
        options.folder = None
    elif options.folder is None and not options.quick:
        options.folder = ROOT / "docs"
    return options


def say(text: str) -> None:
    """Tell what is going on."""
    print(text, file=sys.stderr, flush=True)


def record(questions: dict[str, str], folder: Path) -> dict[str, list[answers.Recording]]:
    """Return answers of the embedded model, with the times of their tokens."""
    if not questions:
        return {}
    say(f"asking the embedded model {len(questions)} questions, {RECORDINGS} times each …")
    configuration = folder / "recorded.toml"
    configuration.write_text('[stream]\npadding = "off"\n')
    with Stack(server_options=["--config", configuration]) as stack:
        return {
            kind: [answers.record(stack.relay, question) for _ in range(RECORDINGS)]
            for kind, question in questions.items()
        }


@contextmanager
def scripted(
    scripts: dict[str, answers.Script], padding: str, folder: Path, first: int
) -> Iterator[Stack]:
    """Run the whole path before an upstream that says what the scripts say."""
    socket, script, configuration = folder / "up.sock", folder / "scripts.json", folder / "c.toml"
    script.write_text(json.dumps(scripts))
    plain = CONFIGURATION.format(padding=padding, socket=socket, first=first)
    is_paid = {key.partition("/")[0] for key in scripts} <= payments.KINDS.keys()
    configuration.write_text(payments.configuration(plain) if is_paid else plain)
    command = [sys.executable, "-m", "scripts.local.scripted_upstream", str(socket), str(script)]
    with (
        processes.running("scripted upstream", command),
        Stack(server_options=["--config", configuration]) as stack,
    ):
        yield stack


def watched(
    scripts: dict[str, answers.Script], padding: str, at_once: int, folder: Path, first: int
) -> list[watching.Trace]:
    """Ask for all answers with one setting, and return what passed."""
    say(f"padding {padding}: watching {len(scripts)} answers, {at_once} at a time …")
    with scripted(scripts, padding, folder, first) as stack:
        gateway = stack.gateway.replace("http://", "tcp://")
        return watching.watch(stack.relay, newest_key(gateway), scripts, at_once)


def observe(
    scripts: dict[str, answers.Script], padding: str, at_once: int, folder: Path
) -> Finding:
    """Watch all answers with one setting, and try to tell them apart."""
    stream = StreamTable()
    traces = watched(scripts, padding, at_once, folder, stream.series_first)
    tick = stream.tick_milliseconds / 1000
    series = GeometricSeries(stream.series_first, stream.series_ratio)
    say(f"padding {padding}: telling them apart …")
    classes = telling.balanced(traces, tick, series, random.SystemRandom())
    kinds = {trace.kind for trace in traces}
    of_questions = kinds <= questions.LARGE.keys() | payments.KINDS.keys()
    return Finding(padding, traces, telling.judge(classes, tick), of_questions)


def observe_shortest(of_each: int, folder: Path, chance: random.Random) -> list[Finding]:
    """Watch short answers with several shortest ones, and try to tell them apart."""
    tick = StreamTable().tick_milliseconds / 1000
    found = []
    for first in shortest.FIRSTS:
        made = shortest.scripts(of_each, chance)
        traces = watched(made, "on", shortest.AT_ONCE, folder, first)
        verdicts = telling.judge({telling.ALL: traces}, tick)
        found.append(Finding(f"{first * tick:.1f} s", traces, verdicts, is_of_questions=True))
    return found


def page(
    findings: list[Finding],
    of_questions: list[Finding],
    of_shortest: list[Finding],
    of_payments: list[Finding],
    at_once: int,
) -> str:
    """Return the documentation of the findings."""
    stream = StreamTable()
    return finding.PAGE.format(
        count=sum(len(each.traces) for each in findings),
        kinds=answers.described(sorted({trace.kind for trace in findings[0].traces})),
        chance=100 * findings[0].verdicts[0].chance,
        verdicts=finding.verdict_rows(findings),
        costs=finding.cost_rows(findings),
        questions=questions.described(),
        question_verdicts=finding.verdict_rows(of_questions),
        shortest=shortest.section(of_shortest),
        payments=payment_page.section(of_payments),
        shape=shape(stream),
        tick=stream.tick_milliseconds,
        chunk=stream.chunk_bytes,
        first=stream.series_first,
        series_ratio=stream.series_ratio,
        date=time.strftime("%F"),
        at_once=at_once,
        cores=os.cpu_count(),
    )


def shape(stream: StreamTable) -> str:
    """Return a description of the defaults."""
    series = GeometricSeries(stream.series_first, stream.series_ratio)
    counts = [stream.series_first]
    while len(counts) < 9:
        counts.append(series.reach(counts[-1] + 1))
    octets = stream.chunk_bytes + SEALED_OVERHEAD
    return finding.SHAPE.format(
        octets=octets,
        tick=stream.tick_milliseconds,
        rate=octets / stream.tick_milliseconds,
        counts=", ".join(map(str, counts)),
        shortest=stream.series_first * stream.tick_milliseconds / 1000,
        ratio=stream.series_ratio - 1,
    )


def observe_payments(
    of_each: int, at_once: int, folder: Path, chance: random.Random
) -> list[Finding]:
    """Try to tell what was paid, refused and free; say how each was answered."""
    found = []
    for padding, count in (("off", max(30, of_each // 4)), ("on", of_each)):
        found.append(observe(payments.scripts(count, chance), padding, at_once, folder))
        statuses = collections.Counter((trace.kind, trace.status) for trace in found[-1].traces)
        for (kind, status), answered in sorted(statuses.items()):
            say(f"{kind}: {answered} answers of status {status}")
    return found


def run(options: argparse.Namespace) -> None:
    """Measure, and write what was found."""
    asked = {} if options.quick else answers.QUESTIONS
    of_each = 30 if options.quick else options.of_each
    with tempfile.TemporaryDirectory(prefix="leak-") as name:
        folder = Path(name)
        chance = random.SystemRandom()
        paid = of_each if options.quick else PAYMENTS_FACTOR * of_each
        if options.payments:
            found = observe_payments(paid, options.at_once, folder, chance)
            print(payment_page.section(found))
            if options.folder is not None:
                keep_payments(found, options.folder)
            return
        of_shortest = [] if options.questions else observe_shortest(of_each, folder, chance)
        if options.shortest:
            print(shortest.section(of_shortest))
            if options.folder is not None:
                keep_shortest(of_shortest, options.folder)
            return
        of_payments = []
        if not options.questions:
            of_payments = observe_payments(paid, options.at_once, folder, chance)
        recordings = {} if options.questions else record(asked, folder)
        findings = []
        for padding, count in (("off", max(30, of_each // 4)), ("on", of_each)):
            if not options.questions:
                made = answers.scripts(recordings, count, chance)
                findings.append(observe(made, padding, options.at_once, folder))
            large = questions.scripts(max(30, count * 3 // 5), chance)
            findings.append(observe(large, padding, LARGE_AT_ONCE, folder))
    if options.folder is not None:
        keep(findings, of_shortest, of_payments, options.at_once, options.folder)
    print(finding.verdict_rows([*findings, *of_payments]))
    print(finding.cost_rows(findings))


def keep(
    findings: list[Finding],
    of_shortest: list[Finding],
    of_payments: list[Finding],
    at_once: int,
    folder: Path,
) -> None:
    """Write the figures, the page and the picture."""
    of_questions = [each for each in findings if each.is_of_questions]
    findings = [each for each in findings if not each.is_of_questions]
    figures = {
        "at_once": at_once,
        "findings": [each.as_json() for each in findings],
        "large_questions": [each.as_json() for each in of_questions],
        "payments": [each.as_json() for each in of_payments],
        "shortest": [described(each) for each in of_shortest],
    }
    folder.mkdir(exist_ok=True)
    (folder / "leak.json").write_text(json.dumps(figures, indent=1) + "\n")
    (folder / "leak.md").write_text(page(findings, of_questions, of_shortest, of_payments, at_once))
    drawing.draw(findings, folder / "leak.svg")


def described(finding: Finding) -> dict[str, Any]:
    """Return the figures of one shortest answer."""
    return {**finding.as_json(), "seconds": finding.seconds}


def keep_shortest(of_shortest: list[Finding], folder: Path) -> None:
    """Write the figures on the shortest answer, and its part of the page."""
    kept = [described(each) for each in of_shortest]
    keep_part("shortest", kept, shortest.HEADING, shortest.section(of_shortest), folder)


def keep_payments(of_payments: list[Finding], folder: Path) -> None:
    """Write the figures on what is paid for, and their part of the page."""
    kept = [each.as_json() for each in of_payments]
    part = payment_page.section(of_payments) + payment_page.ALONE
    keep_part("payments", kept, payment_page.HEADING, part, folder)


def keep_part(
    name: str, kept: list[dict[str, Any]], heading: str, section: str, folder: Path
) -> None:
    """Write the figures of one part of the page, and that."""
    figures, written = folder / "leak.json", folder / "leak.md"
    known = json.loads(figures.read_text())
    known[name] = kept
    page = shortest.replaced(written.read_text(), section, heading)
    figures.write_text(json.dumps(known, indent=1) + "\n")
    written.write_text(page)


def main() -> int:
    """Run the command line."""
    try:
        run(parse())
    except StackError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

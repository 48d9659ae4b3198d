"""The findings as a picture: what passed at the relay, and how often it gave an answer away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from scripts.observer.finding import Finding
from scripts.observer.watching import Trace

matplotlib.use("svg")
from matplotlib import pyplot

SHOWN = ("fast", "story", "thinking", "error")
COLOURS = ("#1b6ca8", "#d1495b", "#2e933c", "#8f6bb3")


def draw(findings: Sequence[Finding], path: Path) -> None:
    """Write a picture: a row of traces for each setting, and the accuracies."""
    # The same bytes for the same findings, and text that stays text.
    matplotlib.rcParams.update({"svg.hashsalt": "leak", "svg.fonttype": "none"})
    figure, axes = pyplot.subplots(
        1, len(findings) + 1, figsize=(13, 4), width_ratios=[*(4 for _ in findings), 3]
    )
    for axis, finding in zip(axes, findings, strict=False):
        _draw_traces(axis, finding)
    _draw_accuracies(axes[-1], findings)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def _draw_traces(axis: Any, finding: Finding) -> None:
    """Draw the octets that had passed by each moment, for one answer of some kinds."""
    for kind, colour in zip(SHOWN, COLOURS, strict=True):
        trace = _typical(finding.traces, kind)
        if trace is None:
            continue
        seconds, passed = [0.0], [0]
        for moment, size in trace.arrivals:
            seconds += [moment, moment]
            passed += [passed[-1], passed[-1] + size]
        axis.plot(seconds, [octets / 1000 for octets in passed], color=colour, label=kind)
    costs = finding.costs()
    kilobytes = costs["stream_octets"] / 1000
    added = 1000 * costs["added_to_first_words_seconds"]
    axis.set_title(
        f"padding {finding.padding}: what passes at the relay\n"
        f"(a stream: {kilobytes:.0f} kB, first words {added:.0f} ms later)"
    )
    axis.set_xlabel("seconds after the question")
    axis.set_ylabel("kB of the answer so far")
    axis.legend(frameon=False)


def _typical(traces: Sequence[Trace], kind: str) -> Trace | None:
    """Return the trace of middle length."""
    chosen = sorted((t for t in traces if t.kind == kind), key=lambda trace: trace.seconds)
    return chosen[len(chosen) // 2] if chosen else None


def _draw_accuracies(axis: Any, findings: Sequence[Finding]) -> None:
    names, shares, errors = [], [], []
    for finding in findings:
        for verdict in finding.verdicts:
            low, high = verdict.interval
            names.append(f"{finding.padding}:\n{verdict.classifier}".replace(" ", "\n"))
            shares.append(100 * verdict.accuracy)
            errors.append((shares[-1] - 100 * low, 100 * high - shares[-1]))
    axis.bar(names, shares, yerr=list(zip(*errors, strict=True)), color="#1b6ca8", capsize=4)
    guessing = 100 * findings[0].verdicts[0].chance
    axis.axhline(guessing, color="#d1495b", linestyle="--", label=f"guessing ({guessing:.1f} %)")
    axis.set_title("told right, same duration")
    axis.set_ylabel("% of answers")
    axis.set_ylim(0, 100)
    axis.tick_params(axis="x", labelsize=8)
    axis.legend(frameon=False)

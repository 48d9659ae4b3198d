"""Telling answers apart by their traces alone: features, two plain classifiers, an honest count.

Every trace is judged by a classifier that has not seen it (five-fold cross-validation), within
its duration class, in which every kind has equally many traces: so guessing is right in one of
as many as there are kinds. The figure that counts is that of the better classifier.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from protocol.shaping import GeometricSeries
from scripts.observer.watching import Trace

FOLDS = 5
FEWEST = 2 * FOLDS  # traces of each kind, below which a duration class says nothing
BURST_SECONDS = 0.02  # what comes closer together belongs to one tick, or to one token
ALL = 0  # the one class of traces that share no duration
LISTED = 30  # arrivals whose sizes and times are features one by one
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
Z = 1.96  # of a confidence of 95 %

Floats = Any
"""A row or a table of numbers (numpy's, which need not be installed where types are checked)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often a classifier was right, of how many, and how often guessing is."""

    classifier: str
    traces: int
    right: int
    chance: float

    @property
    def accuracy(self) -> float:
        """The share that was told right."""
        return self.right / self.traces

    @property
    def spread(self) -> float:
        """By how much guessing may be off, in either direction, over as many traces."""
        return Z * math.sqrt(self.chance * (1 - self.chance) / self.traces)

    @property
    def interval(self) -> tuple[float, float]:
        """The confidence interval of the accuracy (Wilson)."""
        share, n = self.accuracy, self.traces
        middle = (share + Z * Z / (2 * n)) / (1 + Z * Z / n)
        spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
        # Rounding would leave a share of 0 or 1 outside by a hair, which cannot be drawn.
        return min(share, middle - spread), max(share, middle + spread)


def classifiers() -> dict[str, object]:
    """Return what is tried, by name."""
    return {
        "random forest": RandomForestClassifier(300, n_jobs=2),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
    }


def bursts(trace: Trace) -> list[tuple[float, int]]:
    """Return the arrivals, those close together as one: a trace with padding has one a tick."""
    found: list[tuple[float, int]] = []
    for seconds, size in trace.arrivals:
        if found and seconds - found[-1][0] < BURST_SECONDS:
            found[-1] = (found[-1][0], found[-1][1] + size)
        else:
            found.append((seconds, size))
    return found


def features(trace: Trace, tick: float) -> Floats:
    """Return everything that sizes and times could say, as one row of numbers."""
    times, sizes = (np.array(column, float) for column in zip(*trace.arrivals, strict=True))
    starts = np.array([seconds for seconds, _ in bursts(trace)])
    lateness = starts - starts[0] - tick * np.round((starts - starts[0]) / tick)
    gaps = np.diff(starts) if len(starts) > 1 else np.zeros(1)
    return np.concatenate(
        [
            [len(times), len(starts), sizes.sum(), times[0], times[-1] - times[0]],
            *(_summary(column) for column in (sizes, gaps, lateness - np.median(lateness))),
            _listed(sizes),
            _listed(gaps),
            _listed(lateness - np.median(lateness)),
        ]
    )


def _summary(values: Floats) -> Floats:
    return np.concatenate([np.quantile(values, QUANTILES), [values.mean(), values.std()]])


def _listed(values: Floats) -> Floats:
    return np.pad(values[:LISTED], (0, max(0, LISTED - len(values))))


def duration_class(trace: Trace, tick: float, series: GeometricSeries) -> int:
    """Return the count of ticks that padding makes, or would make, of a trace."""
    # The first tick comes within one of the question; half of one is room for lateness.
    return series.reach(math.ceil(trace.seconds / tick - 0.5))


def balanced(
    traces: Sequence[Trace], tick: float, series: GeometricSeries, chance: random.Random
) -> dict[int, list[Trace]]:
    """Return the duration classes, each with equally many traces of every kind.

    Where kinds are so unlike that no class has enough of each, all are one class: their duration
    may tell them apart, and the verdict says so.
    """
    classes: dict[int, dict[str, list[Trace]]] = defaultdict(lambda: defaultdict(list))
    for trace in traces:
        classes[duration_class(trace, tick, series)][trace.kind].append(trace)
    kinds = sorted({trace.kind for trace in traces})
    chosen = {}
    for ticks, by_kind in sorted(classes.items()):
        fewest = min(len(by_kind[kind]) for kind in kinds)
        if fewest >= FEWEST:
            chosen[ticks] = _sampled(by_kind, kinds, fewest, chance)
    if chosen:
        return chosen
    whole = {kind: [trace for trace in traces if trace.kind == kind] for kind in kinds}
    fewest = min(map(len, whole.values()))
    if fewest < FEWEST:
        raise ValueError(f"there are {fewest} traces of one kind, and {FEWEST} are needed")
    return {ALL: _sampled(whole, kinds, fewest, chance)}


def _sampled(
    by_kind: Mapping[str, Sequence[Trace]], kinds: Sequence[str], count: int, chance: random.Random
) -> list[Trace]:
    return [trace for kind in kinds for trace in chance.sample(by_kind[kind], count)]


def judge(classes: dict[int, list[Trace]], tick: float) -> list[Verdict]:
    """Return how well each classifier tells kinds apart within duration classes, best first."""
    total = sum(map(len, classes.values()))
    kinds = {trace.kind for group in classes.values() for trace in group}
    verdicts = []
    for name, classifier in classifiers().items():
        right = sum(_right(classifier, group, tick) for group in classes.values())
        verdicts.append(Verdict(name, total, right, 1 / len(kinds)))
    return sorted(verdicts, key=lambda verdict: -verdict.right)


def _right(classifier: object, traces: list[Trace], tick: float) -> int:
    kinds = np.array([trace.kind for trace in traces])
    rows = np.array([features(trace, tick) for trace in traces])
    told = cross_val_predict(classifier, rows, kinds, cv=StratifiedKFold(FOLDS, shuffle=True))
    return int((told == kinds).sum())

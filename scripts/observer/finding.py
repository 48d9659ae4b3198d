"""What was found with padding on or off, as numbers and as a page of documentation."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scripts.observer.watching import Trace

if TYPE_CHECKING:
    from scripts.observer.telling import Verdict  # stands on scikit-learn

PAGE = """\
# What an observer at the relay can tell

`scripts/leak` plays somebody who sees every octet between relay and clients, and when it came:
the relay's operator, or whoever watches a client's line. It asks {count:,} questions through the
whole path (client, relay, host proxy, enclave server) whose answers are as different as answers
get, then trains classifiers to tell from sizes and times which kind of answer it was.

{kinds}

All kinds draw their lengths from one distribution, and are told apart within a duration class,
so that the duration, which shows, does not count. Every trace is judged by a classifier that has
not seen it. Guessing is right {chance:.1f} % of the time, and a classifier that finds nothing to go
by is right about as often, a little more or less; padding must keep it within two points of that.

| padding | classifier | answers | told right | 95 % interval | above guessing |
| --- | --- | --- | --- | --- | --- |
{verdicts}

What it costs, as a median over the answers of each sort:

| padding | kB, stream | kB, in one piece | ms added to the first words | s to the end |
| --- | --- | --- | --- | --- |
{costs}

![What passes at the relay, and how often it gives an answer away](leak.svg)

## Large questions

To read half a megabyte takes longer or shorter, depending on what it is. Questions of one size, all
with short answers of one kind:

{questions}

| padding | classifier | answers | told right | 95 % interval | above guessing |
| --- | --- | --- | --- | --- | --- |
{question_verdicts}

A question above 64 KiB is read beside the clock of the answers, and its answer begins at a time
that depends on the size alone.

{payments}
{shortest}
## The shape of an answer

{shape}

The settings, with their defaults:

```toml
[stream]
padding = "on"
tick_milliseconds = {tick:.0f}
chunk_bytes = {chunk}
series_first = {first}
series_ratio = {series_ratio}
```

`padding = "off"` sends every event as it comes: the table and the picture say what that gives
away. It is for networks where nobody watches, and the server says so in its log when it starts.
All streams of a worker tick together, on the worker's clock. Whoever reads too slowly misses ticks:
that shows that the reader is slow, which the network shows anyway, and loses nothing of the answer.

## What shows nevertheless

- That somebody asked, when, the size of the question in steps (powers of two from 1 KiB, then
  steps of at most 12 %), and the duration of the answer in the steps above.
- When a client stopped reading, if it did so before the end: a person who pressed a key, say, or a
  program that has enough. The clients of this project pass on the end of an answer, and an error,
  only when the last chunk has come, so that a program that goes on then does so at a rounded time.
  A program that asks again after an error shows that it asks again.
- The duration of an answer to `message/ohttp-req`, which comes in one piece as soon as it is
  there. The clients of this project send `message/ohttp-chunked-req` for everything unless told
  otherwise.
- How busy the machine is, from how punctual its ticks are; the chunks are made ready before the
  tick, and the event loop rests until it, so that this does not depend on what is said in them.

Measured on {date} with {at_once} questions at a time on {cores} cores, which also ran the
observer; times of arrival are the kernel's. Repeat it with `scripts/leak`.
"""

SHAPE = """\
Chunks of {octets:,} octets go out every {tick:.0f} ms, {rate:.0f} kB/s: an event of one token has
200 to 260 octets, so that 150 tokens a second fit. The number of chunks is one of {counts}, … .
The shortest answer takes {shortest:.1f} s; padding makes an answer at most {ratio:.0%} longer."""


@dataclass(frozen=True, slots=True)
class Finding:
    """All that was measured with one setting."""

    padding: str
    traces: list[Trace]
    verdicts: list[Verdict]
    is_of_questions: bool = False
    """Whether large questions differ, and not the answers."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures."""
        return {
            "padding": self.padding,
            "answers": len(self.traces),
            "classifiers": {
                verdict.classifier: {
                    "answers": verdict.traces,
                    "right": verdict.right,
                    "accuracy": verdict.accuracy,
                    "interval": verdict.interval,
                    "chance": verdict.chance,
                }
                for verdict in self.verdicts
            },
            **({} if self.is_of_questions else self.costs()),
        }

    def costs(self) -> dict[str, float]:
        """Return what the setting costs."""
        streams = [trace for trace in self.traces if trace.streamed]
        others = [trace for trace in self.traces if not trace.streamed]
        return {
            "stream_octets": statistics.median(trace.octets for trace in streams),
            "whole_octets": statistics.median(trace.octets for trace in others),
            "added_to_first_words_seconds": statistics.median(
                trace.first_words - trace.due for trace in streams
            ),
            "seconds": self.seconds,
        }

    @property
    def seconds(self) -> float:
        """How long an answer takes, as a median."""
        return statistics.median(trace.seconds for trace in self.traces)


def verdict_rows(findings: Sequence[Finding]) -> str:
    """Return the table of accuracies."""
    rows = []
    for finding in findings:
        for verdict in finding.verdicts:
            low, high = verdict.interval
            rows.append(
                f"| {finding.padding} | {verdict.classifier} | {verdict.traces:,} "
                f"| {verdict.accuracy:.1%} | {low:.1%} to {high:.1%} "
                f"| {100 * (verdict.accuracy - verdict.chance):+.1f} points |"
            )
    return "\n".join(rows)


def cost_rows(findings: Sequence[Finding]) -> str:
    """Return the table of costs."""
    rows = []
    for finding in (each for each in findings if not each.is_of_questions):
        costs = finding.costs()
        rows.append(
            f"| {finding.padding} | {costs['stream_octets'] / 1000:.1f} "
            f"| {costs['whole_octets'] / 1000:.1f} "
            f"| {1000 * costs['added_to_first_words_seconds']:.0f} "
            f"| {costs['seconds']:.2f} |"
        )
    return "\n".join(rows)

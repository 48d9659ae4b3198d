"""Answers that differ in every way that could show: their words, their pace, their kind.

Some are answers of the embedded model to real questions, with the sizes and times of its tokens,
stretched to the length that is drawn; the others are made up, as extreme as answers get.
All kinds draw their lengths from one distribution: so the length gives nothing away by itself.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from oblivious_client.client import ObliviousClient
from oblivious_client.policy import Policy, Simulated

Script = list[tuple[float, str]] | dict[str, Any]
"""See scripts.local.scripted_upstream."""

Recording = list[tuple[float, str]]

QUESTIONS = {
    "story": "Tell me a story about a dragon.",
    "numbers": "Write the numbers from 1 to 40, separated by commas.",
    "program": "Write a Python function that reverses a list.",
    "medicine": "What are the symptoms of diabetes?",
}
RECORDED_TOKENS = 64
LENGTH_SECONDS = (1.3, 2.5)  # of all answers: two of the durations that there are by default
# Before a stream begins. The observer's clients ask again when a tick has ended an answer; without
# this their first words would always come at the same time between two ticks.
DELAY_SECONDS = (0.0, 0.1)
WORDS = ("the", "of", "and", "a", "to", "in", "is", "you", "that", "it", "he", "was", "for", "on")


def record(relay: str, question: str) -> Recording:
    """Return the embedded model's answer: for each token the seconds before it, and its text."""
    with ObliviousClient(relay, policy=Policy(simulated=Simulated.ALLOWED)) as client:
        before = time.monotonic()
        pieces = []
        for text in client.stream(question, max_tokens=RECORDED_TOKENS, temperature=0.8):
            now = time.monotonic()
            if text:
                pieces.append((now - before, text))
                before = now
    return pieces


def stretched(recording: Recording, seconds: float) -> Script:
    """Return a recording made to last for `seconds`."""
    factor = seconds / sum(gap for gap, _ in recording)
    return [(gap * factor, text) for gap, text in recording]


def fast(chance: random.Random, seconds: float) -> Script:
    """150 short words a second."""
    return [(1 / 150, " " + chance.choice(WORDS)) for _ in range(round(seconds * 150))]


def slow(chance: random.Random, seconds: float) -> Script:
    """12 long words a second."""
    words = (" " + "".join(chance.choices(WORDS, k=4)) for _ in range(round(seconds * 12)))
    return [(1 / 12, word) for word in words]


def thinking(chance: random.Random, seconds: float) -> Script:
    """Silence, then all at once."""
    return [(seconds, " Yes."), *((0.0, " " + chance.choice(WORDS)) for _ in range(20))]


def whole(chance: random.Random, seconds: float) -> Script:
    """An answer in one piece."""
    return {"after": seconds, "text": " ".join(chance.choices(WORDS, k=chance.randrange(20, 200)))}


def error(chance: random.Random, seconds: float) -> Script:
    """A refusal by the upstream."""
    return {"after": seconds, "status": 429}


MADE_UP: dict[str, Callable[[random.Random, float], Script]] = {
    "fast": fast,
    "slow": slow,
    "thinking": thinking,
    "whole": whole,
    "error": error,
}


def scripts(
    recordings: dict[str, list[Recording]], of_each: int, chance: random.Random
) -> dict[str, Script]:
    """Return `of_each` scripts of every kind, by keys "KIND/NUMBER" in a random order."""
    made: dict[str, Script] = {}
    for number in range(of_each):
        for kind, taken in recordings.items():
            seconds = chance.uniform(*LENGTH_SECONDS)
            made[f"{kind}/{number}"] = stretched(chance.choice(taken), seconds)
        for kind, make in MADE_UP.items():
            made[f"{kind}/{number}"] = make(chance, chance.uniform(*LENGTH_SECONDS))
    for script in made.values():
        if isinstance(script, list):
            seconds, text = script[0]
            script[0] = (seconds + chance.uniform(*DELAY_SECONDS), text)
    keys = list(made)
    chance.shuffle(keys)
    return {key: made[key] for key in keys}


def described(kinds: list[str]) -> str:
    """Return a list of the kinds and what they are."""
    texts = {kind: f"the embedded model's answers to “{QUESTIONS[kind]}”" for kind in QUESTIONS}
    texts |= {kind: (make.__doc__ or "").rstrip(".") for kind, make in MADE_UP.items()}
    return "\n".join(f"- `{kind}`: {texts[kind]};" for kind in kinds)[:-1] + "."


def first_gap(script: Script) -> float:
    """Return the seconds before the first words."""
    return (script[0][0] if script else 0.0) if isinstance(script, list) else float(script["after"])


def is_streamed(script: Script) -> bool:
    """Whether the question asks for a stream."""
    return isinstance(script, list)

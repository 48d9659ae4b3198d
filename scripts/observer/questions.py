"""Large questions of one size that are as different to read as they get; some are refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from scripts.observer import payments
from scripts.observer.answers import Script

OCTETS = 500_000  # of every question; white space makes up for what is missing
TEXT_OCTETS = 480_000
# Before one is sent. The observer asks again when a tick has ended an answer, and makes up some
# questions faster than others; without this the time to the next tick would tell which.
PAUSE_SECONDS = 0.1

ANSWER_SECONDS = (0.0, 0.15)  # so that all fall into the shortest duration there is

CHAT, PROMPTS = b"/v1/chat/completions", b"/v1/completions"

Fields = dict[str, Any]


def one_text() -> Fields:
    """One long text."""
    return {"messages": [{"role": "user", "content": "x" * TEXT_OCTETS}]}


def escaped_text() -> Fields:
    """One long text of characters that are escaped."""
    return {"messages": [{"role": "user", "content": "\n" * (TEXT_OCTETS // 2)}]}


def many_messages() -> Fields:
    """10,000 messages."""
    return {"messages": [{"role": "user", "content": "Yes."}] * 10_000}


def tools() -> Fields:
    """100 tools with large schemas."""
    parameters = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(160)}}
    function = {"name": "f", "parameters": parameters}
    messages = [{"role": "user", "content": "Hello"}]
    return {"messages": messages, "tools": [{"type": "function", "function": function}] * 100}


def token_list() -> Fields:
    """120,000 tokens."""
    return {"prompt": [100] * 120_000}


def long_integers() -> Fields:
    """Integers of 4,299 digits, which are refused."""
    return {"prompt": [int("9" * 4_299)] * 110}


def too_many_answers() -> Fields:
    """3,000 prompts for 128 answers each, which are refused."""
    return {"prompt": ["x" * 100] * 3_000, "n": 128}


def too_many_biases() -> Fields:
    """20,000 entries of `logit_bias`, which are refused."""
    bias = {str(number): 1 for number in range(20_000)}
    return {"messages": [{"role": "user", "content": "Hello"}], "logit_bias": bias}


LARGE: dict[str, Callable[[], Fields]] = {
    "one-text": one_text,
    "escaped-text": escaped_text,
    "many-messages": many_messages,
    "tools": tools,
    "token-list": token_list,
    "long-integers": long_integers,
    "too-many-answers": too_many_answers,
    "too-many-biases": too_many_biases,
}


def question(key: str, *, streamed: bool, width: int) -> tuple[bytes, bytes]:
    """Return the path and the content of the question whose answer is the script of this key."""
    make = LARGE.get(key.partition("/")[0])
    if make is None:
        asked = {"role": "user", "content": key.ljust(width)}
        body = {"model": "scripted", "messages": [asked], "stream": streamed}
        return CHAT, json.dumps(body).encode()
    fields = make()
    body = {"model": "scripted", "stop": key, "stream": streamed, **fields}
    path = PROMPTS if "prompt" in fields else CHAT
    return path, json.dumps(body, separators=(",", ":")).encode().ljust(OCTETS)


def pause(key: str) -> float:
    """Return for how many seconds to wait before this question is sent."""
    unlike = key.partition("/")[0] in LARGE.keys() | payments.KINDS.keys()
    return random.SystemRandom().uniform(0.0, PAUSE_SECONDS) if unlike else 0.0


def scripts(of_each: int, chance: random.Random) -> dict[str, Script]:
    """Return `of_each` short answers for every kind of question, in a random order."""
    keys = [f"{kind}/{number}" for kind in LARGE for number in range(of_each)]
    chance.shuffle(keys)
    return {key: {"after": chance.uniform(*ANSWER_SECONDS), "text": "Yes."} for key in keys}


def described() -> str:
    """Return a list of the kinds and what they are."""
    texts = {kind: (make.__doc__ or "").rstrip(".") for kind, make in sorted(LARGE.items())}
    return "\n".join(f"- `{kind}`: {text};" for kind, text in texts.items())[:-1] + "."

"""Ask once from the command line: the question, and the answer as it comes."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from oblivious_client.answers import Answer
from oblivious_client.client import ObliviousClient
from oblivious_client.errors import AnswerTruncated, UsageError
from oblivious_client.exits import Exit
from oblivious_client.framing import Framing
from oblivious_client.pictures import data_url
from oblivious_client.terminal import fit_for, is_terminal

Chosen = argparse.Namespace
Tell = Callable[[str], None]
Message = Mapping[str, Any]

PATIENCE_SECONDS = 2.0
"""How long standard input may be silent before it is said that it is waited for."""
INTERRUPTED = (
    "interrupted: what came is not the whole answer, and no signature proves it; "
    "the gateway stops as soon as it notices"
)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after which it has been said what that means for the answer."""


def is_conversation_wanted(chosen: Chosen) -> bool:
    """Whether a person sits there who has not asked yet."""
    return not chosen.question and all(
        stream is not None and is_terminal(stream) for stream in (sys.stdin, sys.stdout)
    )


def question(chosen: Chosen, tell: Tell) -> str:
    """Return the words of the command line, with what comes on standard input behind them."""
    words = " ".join(chosen.question)
    words = "" if words == "-" else words
    try:
        if sys.stdin is None:  # Python's way to say that descriptor 0 was closed at the start
            typed = ""
        elif is_terminal(sys.stdin):
            typed = "" if words else _typed(tell)
        else:
            typed = _piped(tell) if words else sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError("the question on standard input is not UTF-8 text") from error
    text = "\n\n".join(each for each in (words, typed.strip()) if each)
    if not text:
        raise UsageError("there is no question", advice='write one: oblivious-client chat "…"')
    return text


def opening(chosen: Chosen) -> list[Message]:
    """Return what goes before the first question."""
    return [{"role": "system", "content": chosen.system}] if chosen.system else []


def asked(text: str, images: Sequence[str]) -> Message:
    """Return a question, with pictures that are `data:` URLs beside it."""
    if not images:
        return {"role": "user", "content": text}
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    return {"role": "user", "content": [{"type": "text", "text": text}, *pictures]}


def pictures(chosen: Chosen) -> list[str]:
    """Return the pictures that are named, read; raises UsageError."""
    return [data_url(path) for path in chosen.image]


def answered(
    client: ObliviousClient, chosen: Chosen, messages: Sequence[Message], model: str, tell: Tell
) -> Answer:
    """Ask, and write the answer as it comes; raises Interrupted after it has been said so."""
    try:
        return _answered(client, chosen, messages, model)
    except KeyboardInterrupt:
        tell(INTERRUPTED)
        raise Interrupted(INTERRUPTED) from None


def stopped_at_a_limit(answer: Answer) -> bool:
    """Whether the model had more to say."""
    return any(choice.get("finish_reason") == "length" for choice in answer.body["choices"])


def list_models(client: ObliviousClient) -> Exit:
    """Print the models that can be asked, one a line."""
    for name in client.models():
        print(fit_for(sys.stdout, name))
    return Exit.OK


def show(text: str) -> None:
    """Write a piece of an answer."""
    sys.stdout.write(fit_for(sys.stdout, text))
    sys.stdout.flush()


def _answered(
    client: ObliviousClient, chosen: Chosen, messages: Sequence[Message], model: str
) -> Answer:
    fields: dict[str, Any] = {"max_tokens": chosen.max_tokens, "temperature": chosen.temperature}
    fields = {name: value for name, value in fields.items() if value is not None}
    if chosen.framing is Framing.WHOLE:
        answer = client.chat(messages, model=model, **fields)
        show(answer.text + "\n")
        return answer
    stream = client.stream(messages, model=model, **fields)
    shown = ""
    try:
        for text in stream:
            show(text)
            shown = text or shown
    except httpx.TimeoutException as error:
        raise AnswerTruncated from error
    finally:
        stream.close()
        if not shown.endswith("\n"):
            show("\n")
    return stream.answer


def _typed(tell: Tell) -> str:
    tell("type the question; Ctrl-D ends it")
    return sys.stdin.read()


def _piped(tell: Tell) -> str:
    """Read all that is joined to a question; who waits for nothing is told of it."""
    notice = threading.Timer(
        PATIENCE_SECONDS, tell, ["waiting for standard input, which is joined; else add </dev/null"]
    )
    notice.start()
    try:
        return sys.stdin.read()
    finally:
        notice.cancel()

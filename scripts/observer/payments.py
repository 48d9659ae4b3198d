"""Short questions that are paid for, refused for want of a good token, or free.

All are of one size and half of them ask for a stream, so that nothing but what they pay differs.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from functools import cache

from protocol.binary_http import Fields
from scripts.local.mint import Mint, budgets_toml, epochs_around, paying_with
from scripts.observer.answers import Script

ANSWER_SECONDS = (0.0, 0.15)  # so that all fall into the shortest duration there is
CHAT = b"/v1/chat/completions"
FREE_MODEL = "free"


@cache
def mint() -> Mint:
    """Return the one issuer of this run."""
    return Mint(epochs_around(time.time()))


def token() -> Fields:
    """A token of any price, which buys an answer."""
    price = random.SystemRandom().choice([key.price for key in mint().keys])
    return (mint().field(price),)


def token_of_another() -> Fields:
    """A token for another gateway, which is refused."""
    return (paying_with(mint().token(digest=bytes(32))),)


def nothing() -> Fields:
    """No token, for a model that wants one: refused."""
    return ()


def no_token() -> Fields:
    """No token, for a model that is free."""
    return ()


KINDS: dict[str, Callable[[], Fields]] = {
    "paid": token,
    "refused": token_of_another,
    "unpaid": nothing,
    "free": no_token,
}


def fields(key: str) -> Fields:
    """Return the fields that pay for the question of this key; none for other kinds."""
    make = KINDS.get(key.partition("/")[0])
    return () if make is None else make()


def question(key: str, *, streamed: bool, width: int) -> tuple[bytes, bytes]:
    """Return the path and the content of a question, which has one size whatever it costs."""
    model = FREE_MODEL if key.startswith("free/") else "scripted"
    asked = {"role": "user", "content": key.ljust(width)}
    body = {"model": model, "messages": [asked], "stream": streamed, "max_tokens": 100}
    return CHAT, json.dumps(body).encode()


def scripts(of_each: int, chance: random.Random) -> dict[str, Script]:
    """Return `of_each` short answers for every kind, in a random order."""
    numbers = [(kind, number) for kind in KINDS for number in range(of_each)]
    chance.shuffle(numbers)
    return {f"{kind}/{number}": _script(number, chance) for kind, number in numbers}


def _script(number: int, chance: random.Random) -> Script:
    """Return a short answer, every other one in a stream."""
    seconds = chance.uniform(*ANSWER_SECONDS)
    return [(seconds, "Yes.")] if number % 2 else {"after": seconds, "text": "Yes."}


def configuration(plain: str) -> str:
    """Return a configuration like `plain`, whose model is paid for, beside one that is free."""
    model, rest = plain.split("[upstreams", 1)
    free = f'[[models]]\nname = "{FREE_MODEL}"\nupstream = "scripted"\nfree = true\n'
    return f"{mint().toml()}{model}{budgets_toml()}{free}[upstreams{rest}"

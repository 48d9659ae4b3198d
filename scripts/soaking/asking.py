"""Who asks, and how a question ended as its asker saw it."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from oblivious_client.client import AsyncObliviousClient
from oblivious_client.errors import AnswerUnproven, AnswerUnreadable, ClientError
from oblivious_client.local.refusals import describe
from oblivious_client.policy import Policy, Simulated
from oblivious_client.sealing import Framing
from scripts.soaking.echoing_upstream import MARK
from scripts.soaking.judging import Outcome

ECHO, EMBEDDED = "echo", "smollm2-135m-instruct"
TRIAL = Policy(simulated=Simulated.ALLOWED)
SLOW_SECONDS = 0.4  # between two pieces of what is slow


@dataclass(frozen=True, slots=True)
class Seen:
    """How a question ended, as its asker saw it."""

    outcome: Outcome
    status: int = 0
    said: str = ""


@dataclass(slots=True)
class Clients:
    """Who asks: clients of each framing, a `serve`, and a bare one for what is sealed here."""

    relay: str
    canary: str
    chance: random.Random
    local_url: str
    chunked: AsyncObliviousClient = field(init=False)
    whole: AsyncObliviousClient = field(init=False)
    local: httpx.AsyncClient = field(init=False)
    bare: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        self.chunked = AsyncObliviousClient(self.relay, policy=TRIAL)
        self.whole = AsyncObliviousClient(self.relay, policy=TRIAL, framing=Framing.WHOLE)
        limits = httpx.Limits(max_connections=None)
        self.local = httpx.AsyncClient(base_url=self.local_url, timeout=100, limits=limits)
        self.bare = httpx.AsyncClient(timeout=60, limits=limits)

    async def close(self) -> None:
        """Close all connections."""
        await self.chunked.aclose()
        await self.whole.aclose()
        await self.local.aclose()
        await self.bare.aclose()

    def question(self, mark: str) -> str:
        """Return a question for the echo, with what may be found nowhere."""
        return f"{self.canary} says: repeat {mark}."


Asking = Callable[[Clients, str], Awaitable[Seen]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of questions: how often it is asked, beside the others, and how.

    `is_counted`: its upstream counts arrivals; `is_advised`: our client asks, and has to say what
    to do when it fails.
    """

    name: str
    weight: int
    ask: Asking
    is_counted: bool = True
    is_advised: bool = True


def judged(mark: str, text: str) -> Seen:
    """Return whether an answer of the echo is the one to this question, and to no other."""
    return Seen(Outcome.RIGHT if set(MARK.findall(text)) == {mark} else Outcome.WRONG, said=text)


async def ended(kind: Kind, clients: Clients, mark: str) -> Seen:
    """Ask one question, and return how it ended, whatever it was; raises TimeoutError alone."""
    try:
        return await kind.ask(clients, mark)
    except TimeoutError:
        raise
    except (AnswerUnproven, AnswerUnreadable) as error:
        return Seen(Outcome.WRONG, said=describe(error))
    except ClientError as error:
        return Seen(Outcome.FAILED, said=describe(error))
    except Exception as error:  # a fault of the client's, or of this program's: told as it is
        return Seen(Outcome.FAILED, said=f"{type(error).__name__}: {error}")

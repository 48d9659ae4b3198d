"""Several relays: the next is asked where the first cannot have had a question answered."""

import asyncio
import json
import socket
from collections.abc import Callable

import httpx
import pytest

from oblivious_client.client import evidence_of
from oblivious_client.errors import (
    AnswerTruncated,
    ClientError,
    ConnectionLost,
    EvidenceRefused,
    NoAnswer,
    NoConnection,
    OuterRefusal,
)
from oblivious_client.exchange import Upload
from oblivious_client.exits import Exit
from oblivious_client.local.relays import Relays, is_silence
from oblivious_client.policy import Policy
from oblivious_client.transport import AsyncObliviousTransport
from tests.support.gateway import MODEL, PROBLEM, Plain, StandInGateway
from tests.support.local_endpoint import ALLOWED

BODY = json.dumps({"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]}).encode()
GONE = Plain(502, "text/html", b"")


def nobody() -> str:
    """Return the URL of a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


def question() -> httpx.Request:
    return httpx.Request("POST", "https://sealed.invalid/v1/chat/completions", content=BODY)


def asking(
    urls: list[str], times: int = 1, policy: Policy = ALLOWED
) -> tuple[list[int], list[str]]:
    """Ask so often through relays; return the statuses, and what was said."""
    told: list[str] = []

    async def run() -> list[int]:
        relays = Relays([AsyncObliviousTransport(url, policy=policy) for url in urls], told.append)
        try:
            answers = [await relays.ask(question(), Upload()) for _ in range(times)]
            assert all(evidence_of(answer) for answer in answers)
            for answer in answers:
                await answer.aread()
                await answer.aclose()
            return [answer.status_code for answer in answers]
        finally:
            await relays.aclose()

    return asyncio.run(run()), told


def test_the_next_is_asked_and_is_the_first_from_then_on() -> None:
    dead = nobody()
    with StandInGateway() as gateway:
        statuses, told = asking([dead, gateway.url], times=2)
        assert statuses == [200, 200]
        assert len(gateway.posts()) == 2
    assert len(told) == 2
    assert told[0].startswith(f"relay {dead} does not answer (no connection")
    assert told[1] == f"asking through relay {gateway.url} from now on"


def test_a_question_is_sealed_anew_for_the_next() -> None:
    with StandInGateway() as first, StandInGateway() as second:
        first.faults.outer = [GONE]
        statuses, told = asking([first.url, second.url])
        assert statuses == [200]
        (sent,), (again,) = first.posts(), second.posts()
        assert sent.body != again.body
        assert first.keys[0].config != second.keys[0].config
        assert first.chat.inner == []
    assert "answered 502" in told[0]


def test_the_first_is_asked_alone_while_it_answers() -> None:
    with StandInGateway() as first, StandInGateway() as second:
        assert asking([first.url, second.url], times=3) == ([200] * 3, [])
        assert second.arrived == []


@pytest.mark.parametrize("fault", ["problem", "504", "cut", "evidence"])
def test_what_may_have_been_answered_or_is_refused_is_not_asked_elsewhere(fault: str) -> None:
    policy = ALLOWED
    with StandInGateway() as first, StandInGateway() as second:
        match fault:
            case "problem":
                first.faults.outer = [Plain(503, PROBLEM, b"{}")]
            case "504":
                first.faults.outer = [Plain(504, "text/html", b"")]
            case "cut":
                first.faults.cut_after = 1
            case "evidence":
                policy = Policy()
        with pytest.raises(ClientError):
            asking([first.url, second.url], policy=policy)
        assert second.arrived == []


def test_where_none_answers_the_last_says_why() -> None:
    with pytest.raises(NoConnection):
        asking([nobody(), nobody()])
    with pytest.raises(ValueError, match="no relay"):
        Relays([], print)


def refusal(status: int, *, silent: bool = True) -> Callable[[], ClientError]:
    return lambda: OuterRefusal("x", status=status, advice="", is_silence=silent)


@pytest.mark.parametrize(
    ("failure", "untouched", "begun"),
    [
        (lambda: NoConnection("x", advice=""), True, False),
        (lambda: ConnectionLost("x", advice=""), True, False),
        (NoAnswer, True, False),
        (refusal(502), True, True),
        (refusal(503), True, True),
        (refusal(504), True, False),
        (refusal(503, silent=False), False, False),
        (refusal(429, silent=False), False, False),
        (AnswerTruncated, False, False),
        (lambda: EvidenceRefused("x", code=Exit.CHAIN), False, False),
    ],
)
def test_what_is_silence(failure: Callable[[], ClientError], untouched: bool, begun: bool) -> None:
    assert is_silence(failure(), Upload(begun=False)) is untouched
    assert is_silence(failure(), Upload(begun=True)) is begun

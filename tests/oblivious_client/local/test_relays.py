"""Several relays: the next is asked where the first cannot have had a question answered."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

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
from oblivious_client.releases.memory import ReleaseMemory
from oblivious_client.releases.source import Releases
from oblivious_client.transport import AsyncObliviousTransport
from tests.support.gateway import MODEL, PROBLEM, Plain, StandInGateway
from tests.support.local_endpoint import ALLOWED
from tests.support.released_gateway import RELEASES, listed, running
from tests.support.releases import TRUST

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


def test_a_question_is_sealed_for_the_keys_of_the_next() -> None:
    with StandInGateway() as first, StandInGateway() as second:
        first.faults.evidence_answers = [GONE]
        statuses, told = asking([first.url, second.url])
        assert statuses == [200]
        assert first.posts() == []
        assert len(second.posts()) == 1
    assert "answered 502" in told[0]


@pytest.mark.parametrize("status", [403, 404, 429, 500])
def test_one_that_serves_no_evidence_is_no_reason_to_end(status: int) -> None:
    with StandInGateway() as first, StandInGateway() as second:
        first.faults.evidence_answers = [Plain(status, "text/html", b"")] * 8
        statuses, told = asking([first.url, second.url], times=2)
        assert statuses == [200, 200]
        assert first.posts() == []
        assert len(second.posts()) == 2
    assert told[0].startswith(f"relay {first.url} is of no use (asked for the evidence")
    assert f"answered {status}" in told[0]
    assert told[1:] == [f"asking through relay {second.url} from now on"]


def test_one_that_serves_no_list_of_releases_is_no_reason_to_end(tmp_path: Path) -> None:
    told: list[str] = []
    with StandInGateway() as first, StandInGateway() as second:
        second.files[RELEASES] = listed(running(1)).served(int(time.time()))
        trusted = Releases(TRUST, ReleaseMemory(tmp_path), now=time.time())

        async def run() -> int:
            transports = [
                AsyncObliviousTransport(url, policy=ALLOWED, releases=trusted)
                for url in (first.url, second.url)
            ]
            relays = Relays(transports, told.append)
            try:
                answer = await relays.ask(question(), Upload())
                await answer.aread()
                return answer.status_code
            finally:
                await relays.aclose()

        assert asyncio.run(run()) == 200
        assert (len(first.posts()), len(second.posts())) == (0, 1)
    assert "is of no use (asked for the list of releases" in told[0]
    assert "answered 404" in told[0]


@pytest.mark.parametrize("status", [502, 503, 504])
def test_what_may_have_left_is_not_asked_again_but_the_next_question_is(status: int) -> None:
    with StandInGateway() as first, StandInGateway() as second:
        first.faults.outer = [Plain(status, "text/html", b"")] * 2
        told: list[str] = []

        async def run() -> int:
            urls = (first.url, second.url)
            transports = [AsyncObliviousTransport(url, policy=ALLOWED) for url in urls]
            relays = Relays(transports, told.append)
            try:
                with pytest.raises(OuterRefusal):
                    await relays.ask(question(), Upload())
                assert second.arrived == []
                answer = await relays.ask(question(), Upload())
                await answer.aread()
                return answer.status_code
            finally:
                await relays.aclose()

        assert asyncio.run(run()) == 200
        assert (len(first.posts()), len(second.posts())) == (1, 1)


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
    ("failure", "silent"),
    [
        (lambda: NoConnection("x", advice=""), True),
        (lambda: ConnectionLost("x", advice=""), True),
        (NoAnswer, True),
        (refusal(502), True),
        (refusal(503), True),
        (refusal(504), True),
        (refusal(503, silent=False), False),
        (refusal(429, silent=False), False),
        (AnswerTruncated, False),
        (lambda: EvidenceRefused("x", code=Exit.CHAIN), False),
    ],
)
def test_what_is_silence(failure: Callable[[], ClientError], silent: bool) -> None:
    assert is_silence(failure()) is silent

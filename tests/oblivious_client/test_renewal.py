"""Evidence renewed once for all that wait, old copies of relays waited out, a limit kept to."""

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from oblivious_client import evidence
from oblivious_client.client import AsyncObliviousClient, ObliviousClient
from oblivious_client.errors import EvidenceRefused, OuterRefusal
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route
from oblivious_client.sealing import Framing
from oblivious_client.transport import SILENCE_SECONDS, ObliviousTransport, _question
from protocol.registry import KEY_PROBLEM
from tests.support.gateway import MODEL, PROBLEM, WORDS, Plain, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)
ANSWER = "".join(WORDS)
CROWD = 30
TOO_OFTEN = Plain(429, "text/html", b"slow down")


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let nobody wait; return for how long it would have been."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr("oblivious_client.transport.time.sleep", waited.append)
    monkeypatch.setattr("oblivious_client.transport.anyio.sleep", sleep)
    return waited


def client_of(gateway: StandInGateway) -> ObliviousClient:
    return ObliviousClient(gateway.url, policy=ALLOWED)


def fetches(gateway: StandInGateway) -> list[str | None]:
    """Return what each request for evidence told caches."""
    return [each.field("cache-control") for each in gateway.arrived if each.method == "GET"]


def copy(gateway: StandInGateway, age: str) -> Plain:
    """Return what a relay kept of the evidence of this moment."""
    fields = (("Cache-Control", "max-age=600"), ("Age", age))
    return Plain(200, "application/json", gateway.evidence().encode(), fields)


async def many(client: AsyncObliviousClient) -> list[str | BaseException]:
    asking = (client.chat("hello", model=MODEL) for _ in range(CROWD))
    answers = await asyncio.gather(*asking, return_exceptions=True)
    return [each if isinstance(each, BaseException) else each.text for each in answers]


def test_a_crowd_of_first_questions_fetches_once(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            assert await many(client) == [ANSWER] * CROWD

    asyncio.run(run())
    assert len(fetches(gateway)) == 1


def test_a_crowd_of_threads_fetches_once(gateway: StandInGateway) -> None:
    with client_of(gateway) as client, ThreadPoolExecutor(8) as pool:
        texts = pool.map(lambda _: client.chat("hello", model=MODEL).text, range(8))
        assert list(texts) == [ANSWER] * 8
    assert len(fetches(gateway)) == 1


def test_a_crowd_that_meets_a_new_key_renews_once(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            await client.evidence()
            gateway.rotate()
            assert await many(client) == [ANSWER] * CROWD

    asyncio.run(run())
    assert fetches(gateway) == [None, "no-cache"]
    assert len(gateway.posts()) <= 2 * CROWD


def test_who_waits_while_it_fails_fails_with_it(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url) as client:
            failures = await many(client)
            assert all(isinstance(failure, EvidenceRefused) for failure in failures)
            assert len(fetches(gateway)) == 1
            with pytest.raises(EvidenceRefused):
                await client.evidence()  # asks again: it did not wait
            assert len(fetches(gateway)) == 2

    asyncio.run(run())


def test_who_is_interrupted_leaves_the_fetching_to_the_next(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            first = asyncio.ensure_future(client.evidence())
            second = asyncio.ensure_future(client.evidence())
            await asyncio.sleep(0)
            first.cancel()
            assert (await second).key_configs == tuple(key.config for key in gateway.keys)

    asyncio.run(run())


def test_a_relays_old_copy_is_waited_out(gateway: StandInGateway, pauses: list[float]) -> None:
    with client_of(gateway) as client:
        client.evidence()
        old = copy(gateway, "30")
        gateway.rotate()
        gateway.faults.evidence_answers = [old, TOO_OFTEN, old]
        assert client.chat("hello", model=MODEL).text == ANSWER
    assert fetches(gateway) == [None, *["no-cache"] * 4]
    assert len(gateway.posts()) == 2
    assert pauses == [1.0, 1.0, 2.0]


def test_an_old_copy_that_stays_is_tried_and_no_more(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    with client_of(gateway) as client:
        client.evidence()
        old = copy(gateway, "30")
        gateway.rotate()
        gateway.faults.evidence_answers = [old] * 4
        with pytest.raises(OuterRefusal) as caught:
            client.chat("hello", model=MODEL)
        assert caught.value.status == 422
        assert len(gateway.posts()) == 2
        assert pauses == [1.0, 2.0, 4.0]
        # What was refused is remembered: the next question seals nothing to it.
        assert client.chat("hello", model=MODEL).text == ANSWER
        assert len(gateway.posts()) == 3


def test_who_waits_for_an_old_copy_has_what_came_of_it(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    with contextlib.closing(ObliviousTransport(gateway.url, policy=ALLOWED)) as transport:
        source, refused = transport.source, transport.evidence()
        gateway.faults.evidence_answers = [copy(gateway, "30")] * 4
        source.refuse(refused)
        before = source.renewals  # of all that then wait in the lock
        crowd = [transport.run(source.shared(before)) for _ in range(CROWD)]
        assert {each.key_configs for each in crowd} == {refused.key_configs}
        assert (len(fetches(gateway)), pauses) == (5, [1.0, 2.0, 4.0])
        transport.evidence()  # fetches: it did not wait
        assert len(fetches(gateway)) == 6


def test_a_key_that_is_due_is_waited_for_before_the_question_is_sealed_again(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    """A cluster has lost the enclave that the first copy was for; the others have no key yet."""
    with client_of(gateway) as client:
        client.evidence()
        present = copy(gateway, "0")
        gateway.rotate()
        gateway.faults.outer = [due()]
        gateway.faults.evidence_answers = [present, present]
        assert client.chat("hello", model=MODEL).text == ANSWER
        assert pauses == [1.0, 2.0]
        assert len(gateway.posts()) == 2
        # What came of it is over: a key that nobody knows is not waited for.
        gateway.accepted.clear()
        with pytest.raises(OuterRefusal):
            client.chat("hello", model=MODEL)
        assert pauses == [1.0, 2.0]


def test_a_key_that_is_due_and_does_not_come_costs_one_more_try(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    with client_of(gateway) as client:
        gateway.faults.outer = [due()]
        assert client.chat("hello", model=MODEL).text == ANSWER
        assert pauses == [1.0, 2.0, 4.0]
        assert len(gateway.posts()) == 2


def test_one_of_a_crowd_waits_for_the_key_that_is_due(gateway: StandInGateway) -> None:
    async def run() -> None:
        async with AsyncObliviousClient(gateway.url, policy=ALLOWED) as client:
            await client.evidence()
            present = copy(gateway, "0")
            gateway.rotate()
            gateway.faults.outer = [due()] * CROWD
            gateway.faults.evidence_answers = [present]
            assert await many(client) == [ANSWER] * CROWD

    asyncio.run(run())
    assert fetches(gateway) == [None, "no-cache", "no-cache"]
    assert len(gateway.posts()) <= 2 * CROWD


def due() -> Plain:
    """Return a refusal of a key that will soon be replaced."""
    problem = b'{"type": "%s"}' % KEY_PROBLEM.encode()
    return Plain(422, PROBLEM, problem, (("Retry-After", "1"),))


def test_a_copy_of_this_moment_is_none_that_is_waited_out(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    with contextlib.closing(ObliviousTransport(gateway.url, policy=ALLOWED)) as transport:
        transport.source.refuse(transport.evidence())
        gateway.faults.evidence_answers = [copy(gateway, "0")]
        transport.evidence()
    assert (len(fetches(gateway)), pauses) == (2, [])


def test_a_key_that_was_refused_falsely_is_used_again(
    gateway: StandInGateway, pauses: list[float]
) -> None:
    gateway.faults.outer = [Plain(422, PROBLEM, b'{"type": "%s"}' % KEY_PROBLEM.encode())]
    with client_of(gateway) as client:
        for _ in range(3):
            assert client.chat("hello", model=MODEL).text == ANSWER
    assert fetches(gateway) == [None, "no-cache"]
    assert pauses == []


@pytest.mark.parametrize(("told", "seconds"), [(None, 1.0), ("3", 3), ("9999", 5), ("soon", 1.0)])
def test_a_limit_is_kept_to(
    gateway: StandInGateway, pauses: list[float], told: str | None, seconds: float
) -> None:
    fields = () if told is None else (("Retry-After", told),)
    gateway.faults.evidence_answers = [Plain(429, "text/html", b"slow down", fields)]
    with client_of(gateway) as client:
        assert client.chat("hello", model=MODEL).text == ANSWER
    assert pauses == [seconds]


def test_a_limit_that_does_not_end_is_told(gateway: StandInGateway, pauses: list[float]) -> None:
    gateway.faults.evidence_answers = [TOO_OFTEN] * 4
    with client_of(gateway) as client, pytest.raises(OuterRefusal) as caught:
        client.chat("hello", model=MODEL)
    assert caught.value.status == 429
    assert (pauses, len(gateway.arrived)) == ([1.0, 2.0, 4.0], 4)


def test_a_refused_key_on_disk_is_no_evidence(gateway: StandInGateway) -> None:
    source = evidence.EvidenceSource(Route(gateway.url, policy=ALLOWED))
    with client_of(gateway) as client:
        verified = client.evidence()
    source._hold(verified, 60)
    assert source.kept() == verified
    source.refuse(verified)
    assert source.kept() is None
    source.accept(verified)
    assert source.kept() == verified


@pytest.mark.parametrize(
    ("framing", "given", "read"),
    [
        (Framing.CHUNKED, 300.0, SILENCE_SECONDS),
        (Framing.CHUNKED, 5.0, 5.0),
        (Framing.CHUNKED, None, SILENCE_SECONDS),
        (Framing.WHOLE, 300.0, 300.0),
        (Framing.WHOLE, None, None),
    ],
)
def test_a_gateway_that_ticks_is_given_up_when_it_is_silent(
    framing: Framing, given: float | None, read: float | None
) -> None:
    timeout = httpx.Timeout(given, connect=15.0).as_dict()
    request = httpx.Request("POST", "https://sealed.invalid/x", extensions={"timeout": timeout})
    asked = _question(Route("https://relay.example", framing=framing), request, b"body")
    assert asked.extensions["timeout"] == {**timeout, "read": read}
    assert timeout["read"] == given

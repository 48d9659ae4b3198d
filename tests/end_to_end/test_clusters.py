"""Enclaves that share their keys behind HAProxy, asked by real clients through a relay.

All is as it is deployed: a host proxy before each enclave and one between it and its peers, HAProxy
with the configuration that is shipped, `host-proxy --front` beside it. Slow tests have clients ask
for a minute each, some 30 s of CPU; what they measure they print: run them with -s.
"""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client import ClientError, ObliviousClient, Policy, Simulated
from scripts.local.gateway import KEYS_PATH
from scripts.local.stack import Child
from tests.support.crowd import TRIAL, Crowd, Tally, ask, client, load, look, more
from tests.support.enclave import running_upstream, stand_in_config
from tests.support.front import measurements
from tests.support.haproxy import needs_haproxy
from tests.support.host_proxy_process import DEADLINE
from tests.support.upstream import Exchange

MEMBERS = (1, 2, 3)
REQUESTS = 1000
CLIENTS = 12
LOST = "AnswerTruncated"
SILENT = "502"
UNKNOWN = "422"
PERMITTED = {
    # In flight at the member that died, or sent before that was noticed; and of those who asked
    # again before there was a new key some came to a slot of that member's again.
    "leader": {LOST, SILENT, UNKNOWN},
    "follower": {LOST, SILENT, UNKNOWN},
    "agent": set(),
    "HAProxy": {LOST, SILENT, UNKNOWN},
}
"""How a question may fail when a part of the way has been killed."""
ROTATING = """
[keys]
lifetime_seconds = 12
announce_seconds = 5
grace_seconds = 6
"""

pytestmark = needs_haproxy


def event(content: str) -> bytes:
    return b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n' % content.encode()


END = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


class Tap:
    """An upstream whose streams begin at once, and say a word each time that they are let."""

    def __init__(self) -> None:
        self.words = threading.Semaphore(0)
        self.count = 3

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.head(200, "Content-Type: text/event-stream", "Transfer-Encoding: chunked")
        await exchange.chunk(event("0 "))
        for number in range(1, self.count):
            await asyncio.to_thread(self.words.acquire, timeout=DEADLINE)
            await exchange.chunk(event(f"{number} "))
        await exchange.chunk(END)
        await exchange.chunk(b"")

    def said(self) -> str:
        """Return the whole of an answer."""
        return "".join(f"{number} " for number in range(self.count))


@pytest.fixture(name="tap", scope="module")
def a_tap() -> Tap:
    return Tap()


@pytest.fixture(name="crowd", scope="module")
def a_crowd(tap: Tap) -> Iterator[Crowd]:
    with running_upstream(tap) as upstream, Crowd(settings=stand_in_config(upstream.address)) as it:
        it.settle()
        yield it


def test_each_of_a_thousand_requests_is_opened_once(crowd: Crowd) -> None:
    """First of all here: the members' counters have nothing of other tests."""
    tally, left = Tally(), threading.Semaphore(REQUESTS)

    def be_a_client(number: int) -> None:
        with client(crowd.relay, TRIAL, number) as asking:
            while left.acquire(blocking=False):
                ask(asking, tally)

    with ThreadPoolExecutor(CLIENTS) as pool:
        for job in [pool.submit(be_a_client, number) for number in range(CLIENTS)]:
            job.result(DEADLINE)
    assert (tally.answered, tally.retried, tally.failed) == (REQUESTS, 0, {})
    look(lambda: crowd.opened().total() >= REQUESTS)
    opened = crowd.opened()
    print(f"opened by member: {dict(opened)}")
    assert sum(opened.values()) == REQUESTS
    assert min(opened.values()) > REQUESTS / len(MEMBERS) / 2
    assert {status for route, status, _ in crowd.requests() if "ohttp" in route} == {200}


def test_one_list_is_told_whoever_is_asked(crowd: Crowd) -> None:
    (listed,) = {crowd.listed(number) for number in MEMBERS}
    assert crowd.request("GET", KEYS_PATH).body == listed
    assert crowd.request("GET", "/v1/cluster").status == 404


@pytest.mark.parametrize(
    "name",
    [
        "leader",
        pytest.param("follower", marks=pytest.mark.slow),
        pytest.param("agent", marks=pytest.mark.slow),
        pytest.param("HAProxy", marks=pytest.mark.slow),
    ],
)
def test_a_kill_under_load_is_over_when_there_is_a_new_key(crowd: Crowd, name: str) -> None:
    crowd.renew_copy()
    leader = crowd.leader()
    number = {"leader": leader, "follower": next(m for m in MEMBERS if m != leader)}.get(name, 0)
    with load(crowd, CLIENTS) as tally:
        more(tally, 100)
        kill(crowd, name, number)
        if name == "HAProxy":  # without it there is no way to anybody
            restart(crowd, name, number)
        more(tally, 200)
        if number:
            crowd.settle(*(each for each in MEMBERS if each != number))
        settled = str(tally)
        failed = tally.failed.total()
        more(tally, 100)
        assert tally.failed.total() == failed
        if name != "HAProxy":
            restart(crowd, name, number)
        crowd.settle()
        more(tally, 50)
    print(f"kill -9 of the {name}: {settled}; at the end {tally}")
    assert tally.failed.total() == failed
    assert set(tally.failed) <= PERMITTED[name]


def kill(crowd: Crowd, name: str, number: int) -> None:
    crowd.kill(crowd.members[number] if number else part(crowd, name))


def part(crowd: Crowd, name: str) -> Child:
    return crowd.part("front" if name == "agent" else name)


def restart(crowd: Crowd, name: str, number: int) -> None:
    if number:
        crowd.start_member(number)
    else:
        crowd.forget(part(crowd, name))
        crowd.start_agent() if name == "agent" else crowd.start_haproxy()


@pytest.mark.slow
def test_a_member_leaves_without_that_anybody_notices(crowd: Crowd, tap: Tap) -> None:
    """Drained at the front and cut from its peers: the others make a key that it is not told of."""
    with load(crowd, CLIENTS) as tally, ObliviousClient(crowd.relay, policy=TRIAL) as asking:
        leaver = crowd.leader()
        others = [number for number in MEMBERS if number != leaver]
        streams = [asking.stream("question", model="stand-in") for _ in range(9)]
        texts = [iter(stream) for stream in streams]
        firsts = [next(text) for text in texts]  # of some the leaver is the one who says it
        more(tally, 50)
        crowd.set_state(leaver, "drain")
        crowd.forget(crowd.ways[leaver])
        config = crowd.settle(*others)
        assert set(crowd.owners(config).values()) == set(others)
        more(tally, 100)
        assert (tally.retried, tally.failed) == (0, {})
        crowd.set_state(leaver, "maint")
        more(tally, 200)
        tap.words.release((tap.count - 1) * len(streams))
        assert {f + "".join(t) for f, t in zip(firsts, texts, strict=True)} == {tap.said()}
        crowd.forget(crowd.members[leaver])
        print(f"member {leaver} has left: {tally}")
        crowd.start_ways(leaver)
        crowd.start_member(leaver)
        crowd.set_state(leaver, "ready")
        crowd.settle()
        more(tally, 50)
    assert not tally.failed


@pytest.mark.slow
def test_keys_are_turned_under_load_and_no_request_fails() -> None:
    with Crowd(settings=ROTATING + stand_in_config("unix:/nobody")) as crowd:
        crowd.settle()
        before = crowd.statement(1)["turns"]
        with load(crowd, CLIENTS) as tally:
            look(lambda: crowd.statement(1)["turns"] >= before + 3)
            more(tally, 100)
        turns = crowd.statement(1)["turns"] - before
        print(f"{turns} turns: {tally}")
        assert not tally.failed


@pytest.mark.slow
def test_an_upgrade_of_a_cluster_costs_nobody_an_answer() -> None:
    """Blue and green are clusters of other measurements, two members each; clients pin both."""
    pins = {index: value for index, value in simulated_pcrs().items() if index < 3}
    both = Policy(simulated=Simulated.ALLOWED, pcrs=pins, also=(measurements("next"),))
    tap, blue, green = Tap(), (1, 2), (3, 4)
    with running_upstream(tap) as upstream:
        releases = dict.fromkeys(green, "next")
        with Crowd(4, stand_in_config(upstream.address), releases) as crowd:
            for number in green:
                crowd.set_state(number, "maint")
            crowd.settle(*blue)
            look(lambda: len({crowd.listed(number) for number in green}) == 1)
            assert crowd.listed(1) != crowd.listed(3)
            with (
                load(crowd, CLIENTS, both) as tally,
                ObliviousClient(crowd.relay, policy=both) as asking,
            ):
                texts = iter(asking.stream("question", model="stand-in"))
                first = next(texts)
                more(tally, 50)
                for number in green:
                    crowd.set_state(number, "ready")
                for number in blue:
                    crowd.set_state(number, "drain")
                crowd.settle(*green)
                more(tally, 100)
                assert (tally.retried, tally.failed) == (0, {})  # by the relay's copy, still blue
                with ObliviousClient(gateway=crowd.gateway, policy=both) as newcomer:
                    assert newcomer.models() == ["stand-in"]
                with (
                    ObliviousClient(
                        gateway=crowd.gateway,
                        policy=Policy(simulated=Simulated.ALLOWED, pcrs=pins),
                    ) as behind,
                    pytest.raises(ClientError),
                ):
                    behind.models()  # who pins the old release alone is told so
                for number in blue:
                    crowd.set_state(number, "maint")
                more(tally, 200)
                tap.words.release(tap.count - 1)
                assert first + "".join(texts) == tap.said()
                for number in blue:
                    crowd.forget(crowd.members[number])
                more(tally, 50)
            print(f"upgrade: {tally}")
            assert not tally.failed
            assert tally.retried <= CLIENTS

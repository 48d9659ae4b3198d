"""Whoever sees a cluster's answers, as a relay does, cannot tell by them which member gave them."""

import contextlib
import http.client
import importlib
import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from enclave_server.config import StreamTable
from oblivious_client.exchange import inner_request
from oblivious_client.sealing import Framing, seal
from protocol.encapsulation import preferred_config
from protocol.key_config import KeyConfig, decode_key_configs
from protocol.shaping import GeometricSeries
from protocol.slots import place_of
from scripts.local import front, processes
from scripts.local.gateway import KEYS_PATH
from scripts.observer import watching
from scripts.observer.answers import Script
from tests.support.crowd import Crowd
from tests.support.haproxy import needs_haproxy, replace
from tests.support.host_proxy_process import DEADLINE

OF_EACH = 8  # answers of every member, whose heads are compared
ANSWERS = 480  # whose traces are told apart
AT_ONCE = 24
DELAY_SECONDS = (0.0, 0.1)  # one tick of the clock of streams
TOLERANCE = 4  # standard deviations of what guessing gets right
SETTINGS = """
[[models]]
name = "scripted"
upstream = "scripted"
[upstreams.scripted]
address = "unix:{socket}"
"""
TELLTALE = "    balance roundrobin\n    http-response set-header Server two if { srv_id 2 }\n"

pytestmark = needs_haproxy


@dataclass(frozen=True, slots=True)
class Seen:
    """What a relay sees of an answer that is no stream: status, fields but the date, size."""

    status: int
    fields: tuple[tuple[str, str], ...]
    octets: int


@pytest.fixture(name="scripts", scope="module")
def the_scripts() -> dict[str, Script]:
    """What the upstream says to questions that differ in nothing but their number."""
    chance = random.SystemRandom()
    return {f"same/{n}": [(chance.uniform(*DELAY_SECONDS), " Yes.")] for n in range(ANSWERS)}


@pytest.fixture(name="crowd", scope="module")
def a_crowd(
    tmp_path_factory: pytest.TempPathFactory, scripts: dict[str, Script]
) -> Iterator[Crowd]:
    folder = tmp_path_factory.mktemp("up")
    socket, script = folder / "up.sock", folder / "scripts.json"
    script.write_text(json.dumps(scripts))
    command = [sys.executable, "-m", "scripts.local.scripted_upstream", str(socket), str(script)]
    with (
        processes.running("scripted upstream", command),
        Crowd(settings=SETTINGS.format(socket=socket)) as crowd,
    ):
        crowd.settle()
        yield crowd


@contextlib.contextmanager
def telltale(crowd: Crowd) -> Iterator[None]:
    """Have the front add a field to what the second member answers: the fault to be found."""
    path = crowd.folder / front.CONFIGURATION_NAME
    shipped = path.read_text()
    run_with(crowd, path, replace(shipped, "    balance roundrobin\n", TELLTALE))
    try:
        yield
    finally:
        run_with(crowd, path, shipped)


def run_with(crowd: Crowd, path: Path, text: str) -> None:
    path.write_text(text)
    crowd.forget(crowd.part("HAProxy"))
    crowd.run_haproxy()
    crowd.settle()


def key(crowd: Crowd) -> KeyConfig:
    return preferred_config(decode_key_configs(crowd.request("GET", KEYS_PATH).body))


def whole(config: KeyConfig) -> tuple[str, bytes]:
    """Return a question as its media type and body."""
    return sealed(config, Framing.WHOLE)


def in_chunks(config: KeyConfig) -> tuple[str, bytes]:
    return sealed(config, Framing.CHUNKED)


def unopenable(config: KeyConfig) -> tuple[str, bytes]:
    media_type, body = sealed(config, Framing.WHOLE)
    return media_type, body[:-1] + bytes([body[-1] ^ 1])


def sealed(config: KeyConfig, framing: Framing) -> tuple[str, bytes]:
    inner = inner_request("GET", b"/v1/models", b"", now=time.time())
    return framing.request_type, b"".join(seal(config, inner, framing).pieces)


def seen_by_member(
    crowd: Crowd, make: Callable[[KeyConfig], tuple[str, bytes]]
) -> dict[int, Counter[Seen]]:
    """Ask until every member has answered so often; return what passed."""
    config = key(crowd)
    owners = crowd.owners(config)
    found: dict[int, Counter[Seen]] = {number: Counter() for number in crowd.members}
    connection = http.client.HTTPConnection("127.0.0.1", crowd.front_port, timeout=DEADLINE)
    with contextlib.closing(connection):
        while min(seen.total() for seen in found.values()) < OF_EACH:
            media_type, body = make(config)
            place = place_of(body)
            assert place is not None
            connection.request("POST", "/v1/ohttp", body, {"content-type": media_type})
            answer = connection.getresponse()
            fields = tuple(f for f in answer.getheaders() if f[0].lower() != "date")
            found[owners[place.slot]][Seen(answer.status, fields, len(answer.read()))] += 1
    return found


def kinds(seen: dict[int, Counter[Seen]]) -> list[set[Seen]]:
    """Return what there was of each member."""
    return [set(each) for each in seen.values()]


@pytest.mark.parametrize(
    ("make", "status"), [(whole, 200), (in_chunks, 200), (unopenable, 422)], ids=lambda value: ""
)
def test_members_answer_in_the_same_fields_and_sizes(
    crowd: Crowd, make: Callable[[KeyConfig], tuple[str, bytes]], status: int
) -> None:
    first, *others = kinds(seen_by_member(crowd, make))
    assert {each.status for each in first} == {status}
    assert len(first) == 1
    assert others == [first] * (len(crowd.members) - 1)


def test_a_field_that_one_member_has_alone_is_found(crowd: Crowd) -> None:
    with telltale(crowd):
        first, second, third = kinds(seen_by_member(crowd, whole))
    assert first == third != second


@pytest.mark.slow
def test_sizes_and_times_of_streams_tell_no_member(
    crowd: Crowd, scripts: dict[str, Script], monkeypatch: pytest.MonkeyPatch
) -> None:
    """480 traces twice, some 40 s of CPU; told right as often as by guessing.

    Every member's streams have a clock of their own. A client that asks again at a tick of one sees
    by the first tick of the next which of the others it is: so these wait for some part of a tick.
    """
    chance = random.SystemRandom()
    monkeypatch.setattr(watching, "pause", lambda key: chance.uniform(*DELAY_SECONDS))
    pytest.importorskip("sklearn", reason="sklearn is missing: scripts/test installs it")
    telling = importlib.import_module("scripts.observer.telling")
    best = max(judged(telling, crowd, scripts), key=lambda verdict: verdict.right)
    deviation = math.sqrt(best.chance * (1 - best.chance) / best.traces)
    print(f"{best.classifier}: {best.accuracy:.1%} of {best.traces}, by chance {best.chance:.1%}")
    assert best.accuracy < best.chance + TOLERANCE * deviation
    with telltale(crowd):
        found = max(judged(telling, crowd, scripts), key=lambda verdict: verdict.right)
    print(f"with a field that one member has: {found.accuracy:.1%} of {found.traces}")
    assert found.accuracy > found.chance + 2 * TOLERANCE * deviation


def judged(telling: Any, crowd: Crowd, scripts: dict[str, Script]) -> list[Any]:
    """Watch all answers at the front; return how well classifiers tell the members apart."""
    config = key(crowd)
    owners = crowd.owners(config)
    traces = watching.watch(f"{crowd.gateway}/v1/ohttp", config, scripts, AT_ONCE)
    for number, trace in enumerate(traces):
        trace.key = f"member{owners[trace.slot]}/{number}"
    stream = StreamTable()
    tick = stream.tick_milliseconds / 1000
    series = GeometricSeries(stream.series_first, stream.series_ratio)
    verdicts: list[Any] = telling.judge(
        telling.balanced(traces, tick, series, random.SystemRandom()), tick
    )
    return verdicts

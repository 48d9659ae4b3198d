"""Three servers under one simulated root: one key list, and one owner for every request."""

import http.client
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from enclave_server.cluster.beginning import Stopped
from enclave_server.config import parse_config
from enclave_server.http.dates import format_date
from enclave_server.log import Log
from enclave_server.processes.joining import join_cluster, schedule_of
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.security_module.simulated import SimulatedSecurityModule
from protocol.binary_http import Request, decode_response, encode_request
from protocol.encapsulation import ClientContext, encapsulate_request, preferred_config
from protocol.key_config import KeyConfig, decode_key_configs
from protocol.registry import KEY_PROBLEM, OHTTP_REQUEST
from protocol.slots import Place, place_of
from tests.support.enclaves import common_root

ROOT = Path(__file__).resolve().parents[3]
MEMBERS = 3
REQUESTS = 1000
PATIENCE_SECONDS = 60.0
SETTINGS = """
[server]
listen = "unix:{folder}/http-{place}"
[cluster]
enabled = true
listen = "unix:{folder}/peer-{place}"
peers = [{peers}]
[[models]]
name = "m"
upstream = "nowhere"
[upstreams.nowhere]
address = "unix:{folder}/nowhere"
"""


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(str(self._path))


@dataclass
class Cluster:
    """Processes, by place, and a stand-in for a router: it goes by what each says that it owns."""

    folder: Path
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, place: int) -> None:
        """Start a server."""
        peers = ", ".join(
            f'"unix:{self.folder}/peer-{other}"' for other in range(MEMBERS) if other != place
        )
        file = self.folder / f"{place}.toml"
        file.write_text(SETTINGS.format(folder=self.folder, place=place, peers=peers))
        command = ["-m", "enclave_server", "--config", str(file)]
        root = ["--simulated-root", str(self.folder / "root.pem")]
        with (self.folder / f"{place}.log").open("ab") as log:
            self.processes[place] = subprocess.Popen(
                [sys.executable, *command, *root], cwd=ROOT, stderr=log
            )

    def kill(self, place: int) -> None:
        """End a server as a crash would."""
        process = self.processes.pop(place)
        process.kill()
        process.wait()
        (self.folder / f"http-{place}").unlink()
        (self.folder / f"peer-{place}").unlink()

    def pause(self, place: int) -> list[int]:
        """Stop a server and all its processes where they are; return these."""
        stopped: list[int] = []
        waiting = [self.processes[place].pid]
        while waiting:
            pid = waiting.pop()
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        return stopped

    def end(self) -> None:
        """End all."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)

    def ask(self, place: int, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """Return status and content; 0 where nobody listens."""
        connection = UnixConnection(self.folder / f"http-{place}")
        fields = {} if body is None else {"content-type": OHTTP_REQUEST.decode()}
        try:
            connection.request("GET" if body is None else "POST", path, body, fields)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 0, b""
        finally:
            connection.close()

    def statement(self, place: int) -> dict[str, Any]:
        """Return what a member says of itself, nothing where nobody listens."""
        status, body = self.ask(place, "/v1/cluster")
        return dict(json.loads(body)) if status == 200 else {}

    def lists(self) -> set[bytes]:
        """Return the key lists that members give."""
        return {self.ask(place, "/v1/ohttp/config")[1] for place in self.processes}

    def routes(self) -> dict[Place, list[int]]:
        """Return who says that it owns what."""
        found: dict[Place, list[int]] = {}
        for place in self.processes:
            for key_id, ranges in self.statement(place)["slots"].items():
                for first, last in ranges:
                    for slot in range(first, last + 1):
                        found.setdefault(Place(int(key_id), slot), []).append(place)
        return found

    def settle(self, without: int | None = None) -> None:
        """Wait until all who are there share the newest keys, and clients are told of these."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        there = [place for place in self.processes if place != without]
        while time.monotonic() < deadline:
            if self._is_settled(there):
                return
            time.sleep(0.2)
        logs = [(self.folder / f"{place}.log").read_text() for place in range(MEMBERS)]
        raise AssertionError("\n".join(logs))

    def _is_settled(self, there: Sequence[int]) -> bool:
        statements = [self.statement(place) for place in there]
        lists = {self.ask(place, "/v1/ohttp/config")[1] for place in there}
        if not all(statements) or len(lists) != 1:
            return False
        listed = decode_key_configs(*lists)[0].key_id
        alive = {each["member"] for each in statements}
        return all(
            set(each["members"]) == alive
            and not each["unowned"]
            and next(iter(each["slots"].items()))[0] == str(listed)
            and each["slots"][str(listed)]
            for each in statements
        )

    def key(self) -> KeyConfig:
        """Return the key that a client seals to."""
        (only,) = self.lists()
        return preferred_config(decode_key_configs(only))


def sealed(config: KeyConfig) -> bytes:
    return sealed_and_opener(config)[0]


def sealed_and_opener(config: KeyConfig) -> tuple[bytes, ClientContext]:
    date = ((b"date", format_date(time.time())),)
    request = Request(b"GET", b"https", b"sealed.invalid", b"/v1/models", date, b"")
    return encapsulate_request(config, encode_request(request))


@pytest.fixture(name="cluster", scope="module")
def a_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("c"))
    for place in range(MEMBERS):
        cluster.start(place)
    try:
        cluster.settle()
        yield cluster
    finally:
        cluster.end()


def test_all_give_one_list_and_their_own_evidence(cluster: Cluster) -> None:
    assert len(cluster.lists()) == 1
    evidence = {cluster.ask(place, "/v1/attestation")[1] for place in range(MEMBERS)}
    assert len(evidence) == MEMBERS
    assert len({json.loads(each)["ohttp_keys"] for each in evidence}) == 1
    assert len({json.loads(each)["signing_key"] for each in evidence}) == 1


def test_a_thousand_requests_by_the_map_are_opened_once_each(cluster: Cluster) -> None:
    config, routes = cluster.key(), cluster.routes()
    assert all(len(owners) == 1 for owners in routes.values())
    opened = dict.fromkeys(range(MEMBERS), 0)
    requests = [sealed(config) for _ in range(REQUESTS)]
    for request in requests:
        place = place_of(request)
        assert place is not None
        (owner,) = routes[place]
        status, _ = cluster.ask(owner, "/v1/ohttp", request)
        assert status == 200
        opened[owner] += 1
    assert sum(opened.values()) == REQUESTS
    assert min(opened.values()) > REQUESTS / MEMBERS / 2
    for request in requests[:50]:
        others = set(range(MEMBERS)) - {routes[_place(request)][0]}
        assert {cluster.ask(other, "/v1/ohttp", request)[0] for other in others} == {421}


def _place(request: bytes) -> Place:
    place = place_of(request)
    assert place is not None
    return place


def test_one_request_to_every_member_is_opened_once(cluster: Cluster) -> None:
    config = cluster.key()
    for _ in range(20):
        request = sealed(config)
        answers = [cluster.ask(place, "/v1/ohttp", request) for place in range(MEMBERS)]
        assert sorted(status for status, _ in answers) == [200, 421, 421]
        assert all(b"json" not in body for status, body in answers if status == 200)


def test_a_lost_leader_is_followed_by_new_keys_and_clients_recover(cluster: Cluster) -> None:
    config, routes = cluster.key(), cluster.routes()
    leader = next(
        place
        for place in range(MEMBERS)
        if cluster.statement(place)["leader"] == cluster.statement(place)["member"]
    )
    dead = next(
        request
        for request in (sealed(config) for _ in itertools.count())
        if routes[_place(request)] == [leader]
    )
    cluster.kill(leader)
    cluster.settle()
    assert cluster.key() != config
    for place in cluster.processes:
        status, body = cluster.ask(place, "/v1/ohttp", dead)
        assert status == 422
        assert json.loads(body)["type"] == KEY_PROBLEM
    routes = cluster.routes()
    again = [sealed(cluster.key()) for _ in range(30)]
    statuses = [cluster.ask(routes[_place(each)][0], "/v1/ohttp", each)[0] for each in again]
    assert set(statuses) == {200}
    cluster.start(leader)
    cluster.settle()
    assert len(cluster.statement(leader)["members"]) == MEMBERS
    assert cluster.ask(leader, "/v1/ohttp", dead)[0] in (421, 422)


def test_a_paused_enclave_that_goes_on_after_a_turn_opens_what_was_its_own_once(
    cluster: Cluster,
) -> None:
    config, routes = cluster.key(), cluster.routes()
    stated = {place: cluster.statement(place) for place in cluster.processes}
    paused = next(place for place, said in stated.items() if said["leader"] != said["member"])
    others = [place for place in stated if place != paused]
    request, context = next(
        each
        for each in (sealed_and_opener(config) for _ in itertools.count())
        if routes[_place(each[0])] == [paused]
    )
    assert context._sender is not None
    once_more = ClientContext(context._sender)
    stopped = cluster.pause(paused)
    try:
        cluster.settle(without=paused)
        assert {cluster.ask(place, "/v1/ohttp", request)[0] for place in others} == {422}
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    status, body = cluster.ask(paused, "/v1/ohttp", request)
    assert status == 200
    assert decode_response(context.open_response(body)).status == 200
    cluster.settle()
    assert cluster.key() != config
    assert {cluster.ask(place, "/v1/ohttp", request)[0] for place in others} <= {421, 422}
    status, body = cluster.ask(paused, "/v1/ohttp", request)
    assert status == 200
    assert decode_response(once_more.open_response(body)).status == 409


def test_keys_live_an_hour_in_a_cluster_unless_something_else_is_said() -> None:
    alone = schedule_of(parse_config(""))
    shared = schedule_of(parse_config("[cluster]\nenabled = true"))
    said = schedule_of(parse_config("[cluster]\nenabled = true\n[keys]\nlifetime_seconds = 7200"))
    assert (alone.lifetime, shared.lifetime, said.lifetime) == (86400, 3600, 7200)
    assert shared.announce == said.announce == 300


class Ending(StopSignals):
    """Signals of which the second waiting hears one; what is waited for is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[list[socket.socket]] = []

    def wait(self, others: Iterable[socket.socket], seconds: float) -> None:
        """Note it, in place of waiting."""
        self.waited.append(list(others))
        self.count = len(self.waited) - 1


def test_who_looks_for_a_cluster_waits_for_it_until_a_signal_comes(tmp_path: Path) -> None:
    config = parse_config(
        f'[cluster]\nenabled = true\nlisten = "unix:{tmp_path}/peer"\n'
        f'peers = ["unix:{tmp_path}/other"]\njoin_seconds = 3600\n'
    )
    module = SimulatedSecurityModule(root=common_root())
    log = Log(io.StringIO())
    with Ending() as signals, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/peer")
        listener.listen()
        listener.setblocking(False)
        with pytest.raises(Stopped):
            join_cluster(config, module, listener, signals, log)
    assert [listener in waited for waited in signals.waited] == [True, True]

"""The whole path with enclaves that share their keys, behind HAProxy as it is deployed.

Each enclave server has a host proxy for requests and one for its peers; the agent keeps HAProxy's
map; the reference relay is before all. Parts can be killed, and started again.
"""

import contextlib
import http.client
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx

from oblivious_client import ClientError, ObliviousTransport, Policy, Simulated
from oblivious_client.errors import OuterRefusal
from oblivious_client.exchange import Upload
from oblivious_client.framing import Framing
from protocol.evidence import Evidence
from protocol.key_config import KeyConfig, decode_key_configs
from protocol.slots import SLOTS
from scripts.local import front
from scripts.local.gateway import KEYS_PATH
from scripts.local.stack import Child, Stack
from tests.support.enclave import Answer, UnixConnection, exchange, stand_in_config
from tests.support.front import OTHER_RELEASE
from tests.support.host_proxy_process import DEADLINE, until

TRIAL = Policy(simulated=Simulated.ALLOWED)
PAUSE_SECONDS = 0.1
"""Between two questions of one client: the load is to be steady, and not to take the machine."""

LOOK_SECONDS = 0.1
MODELS_URL = "https://sealed.invalid/v1/models"


class Crowd(Stack):
    """The path, whose members are numbered from 1 on; some may be of another release."""

    def __init__(
        self,
        enclaves: int = 3,
        settings: str = stand_in_config("unix:/nobody"),
        releases: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(enclaves=enclaves, settings=settings)
        self.releases = releases

    def server_program(self, number: int) -> Sequence[str | Path]:
        """Return what runs an enclave server of the release that it is of."""
        release = self.releases.get(number)
        if release is None:
            return super().server_program(number)
        return [sys.executable, "-c", OTHER_RELEASE, release]

    def kill(self, part: Child) -> None:
        """End a part as a crash does, with whatever it has started."""
        os.killpg(part.process.pid, signal.SIGKILL)
        part.process.wait(DEADLINE)

    def ask_member(self, number: int, path: str, body: bytes | None = None) -> Answer | None:
        """Return an enclave's own answer, None where nobody listens."""
        headers = {} if body is None else {"content-type": "message/ohttp-req"}
        address = self.place(number).address.removeprefix("unix:")
        with contextlib.closing(UnixConnection(address)) as connection:
            try:
                method = "GET" if body is None else "POST"
                return exchange(connection, method, path, body, headers)
            except (OSError, http.client.HTTPException):
                return None

    def statement(self, number: int) -> dict[str, Any]:
        """Return what a member says of itself, nothing where nobody listens."""
        answer = self.ask_member(number, "/v1/cluster")
        return {} if answer is None or answer.status != 200 else dict(answer.json)

    def listed(self, number: int) -> bytes:
        """Return the list of keys that a member gives, nothing where nobody listens."""
        answer = self.ask_member(number, KEYS_PATH)
        return b"" if answer is None else answer.body

    def leader(self) -> int:
        """Return the number of whoever leads."""
        said = {number: self.statement(number) for number in self.members}
        return next(n for n, one in said.items() if one and one["leader"] == one["member"])

    def set_state(self, number: int, state: str) -> None:
        """Have the operator set a server to ready, drain or maint."""
        command = f"set server oblivious_members/enclave{number} state {state}"
        assert not front.ask(self.folder, command).strip()

    def request(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """Return the front's answer on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.front_port, timeout=DEADLINE)
        headers = {} if body is None else {"content-type": "message/ohttp-req"}
        with contextlib.closing(connection):
            return exchange(connection, method, path, body, headers)

    def renew_copy(self) -> None:
        """Have the relay keep evidence for the newest key, not for one that serves as well."""
        listed = self.request("GET", KEYS_PATH).body
        with ObliviousTransport(self.relay, policy=TRIAL) as transport:
            url = transport.route.endpoint.evidence()

        def has_renewed() -> bool:
            copy = httpx.get(url, headers={"cache-control": "no-cache"})
            return Evidence.decode(copy.content).ohttp_keys == listed

        look(has_renewed)

    def settle(self, *numbers: int) -> KeyConfig:
        """Wait until exactly these (all) share a newest key, that is told to clients; return it."""
        wanted = set(numbers or self.members)
        look(lambda: self._is_settled(wanted))
        return self.key()

    def key(self) -> KeyConfig:
        """Return the newest key that clients are told of."""
        return decode_key_configs(self.request("GET", KEYS_PATH).body)[0]

    def owners(self, config: KeyConfig) -> dict[int, int]:
        """Return who gets each slot of a key, as HAProxy has it."""
        return front.owners(self.folder, config.key_id)

    def _is_settled(self, wanted: set[int]) -> bool:
        said = {number: self.statement(number) for number in wanted}
        lists = {self.listed(number) for number in wanted}
        if not all(said.values()) or len(lists) != 1:
            return False
        newest = decode_key_configs(*lists)[0]
        owners, alive = self.owners(newest), {one["member"] for one in said.values()}
        return (
            all(set(one["members"]) == alive for one in said.values())
            and set(owners.values()) == wanted
            and len(owners) == SLOTS
            and self.key() == newest
        )

    def requests(self) -> Counter[tuple[str, int, int]]:
        """Return how many requests members have counted, by route, status and number."""
        counts: Counter[tuple[str, int, int]] = Counter()
        for number, member in self.members.items():
            for line in [each for each in list(member.lines) if '"requests"' in each]:
                event = json.loads(line)
                counts[event["route"], event["status"], number] += event["count"]
        return counts

    def opened(self) -> Counter[int]:
        """Return how many sealed requests each member has counted that it opened."""
        counts: Counter[int] = Counter()
        for (route, status, number), count in self.requests().items():
            if route.startswith("ohttp") and status == 200:
                counts[number] += count
        return counts


def look(condition: Callable[[], bool]) -> None:
    """Wait for something that it takes some work to see."""

    def holds() -> bool:
        time.sleep(LOOK_SECONDS)
        return condition()

    until(holds)


@dataclass
class Tally:
    """What became of the questions of a load."""

    answered: int = 0
    retried: int = 0  # of those that were answered: by a second request, sealed anew
    failed: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, copies: int, failure: str = "") -> None:
        """Count a question."""
        with self._lock:
            if failure:
                self.failed[failure] += 1
            else:
                self.answered += 1
                self.retried += copies > 1

    def __str__(self) -> str:
        """Return the counts."""
        failed = dict(self.failed) or 0
        return f"answered {self.answered}, of them retried {self.retried}, failed {failed}"


def client(relay: str, policy: Policy, number: int) -> httpx.Client:
    """Return one of many clients: those of odd numbers ask for their answers whole, at once."""
    framing = Framing.WHOLE if number % 2 else Framing.CHUNKED
    return httpx.Client(transport=ObliviousTransport(relay, policy=policy, framing=framing))


def ask(asking: httpx.Client, tally: Tally) -> None:
    """Ask once for the models, which no upstream is needed for."""
    upload = Upload()
    try:
        answer = asking.get(MODELS_URL, extensions={"oblivious_upload": upload})
    except OuterRefusal as error:
        tally.note(upload.copies, str(error.status))
    except ClientError as error:
        tally.note(upload.copies, type(error).__name__)
    else:
        tally.note(upload.copies, "" if answer.status_code == 200 else str(answer.status_code))


@contextlib.contextmanager
def load(crowd: Crowd, clients: int, policy: Policy = TRIAL) -> Iterator[Tally]:
    """Have clients ask through the relay until the block ends."""
    tally, stop = Tally(), threading.Event()

    def ask_on(number: int) -> None:
        with client(crowd.relay, policy, number) as asking:
            while not stop.wait(PAUSE_SECONDS):
                ask(asking, tally)

    with ThreadPoolExecutor(clients) as pool:
        jobs = []
        try:
            jobs += [pool.submit(ask_on, number) for number in range(clients)]
            yield tally
        finally:
            stop.set()
        for job in jobs:
            job.result(DEADLINE)


def more(tally: Tally, count: int) -> None:
    """Wait until so many more questions have been answered."""
    before = tally.answered
    until(lambda: tally.answered >= before + count)

"""A request through HAProxy to 1, 2 and 4 enclaves of a cluster: what each part of the way costs.

All three clusters run at the same time and take turns under load, each with as many connections for
each of its members, so that only the number of members differs. A question is answered at once, as
in `server`: what is left is what every request costs.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from protocol.slots import SLOTS
from scripts.benchmark import server
from scripts.local import front, processes
from scripts.local.gateway import newest_key
from scripts.local.stack import Stack

SIZES = (1, 2, 4)
CONNECTIONS = 16  # for each member
ROUNDS = 5
WARM_UP = 3000  # requests to each member
LOOK_SECONDS = 0.2
IDLE_SECONDS = 10.0
SETTINGS = server.CONFIGURATION.format(socket="/nobody")


class Cluster(Stack):
    """Enclave servers that answer at once, their host proxies, HAProxy and its agent; no relay."""

    def server_program(self, number: int) -> Sequence[str | Path]:
        """Return what runs an enclave server whose chat service answers at once."""
        return [sys.executable, "-m", "scripts.benchmark.instant_server"]

    def start(self) -> None:
        """Start all but a relay."""
        self.start_several()

    @property
    def address(self) -> str:
        """Where HAProxy takes requests."""
        return f"tcp://127.0.0.1:{self.front_port}"

    def seconds(self) -> dict[str, float]:
        """Return the CPU seconds of each kind of part so far."""
        parts = {
            "enclaves": list(self.members.values()),
            "host_proxy": [*self.carriers.values(), *self.ways.values()],
            "HAProxy": [self.part("HAProxy")],
            "agent": [self.part("front")],
        }
        return {
            kind: sum(processes.cpu_seconds(child.process.pid) for child in children)
            for kind, children in parts.items()
        }


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return CPU microseconds of a request by part, medians of rounds that take turns."""
    if front.program() is None:
        raise SystemExit("error: HAProxy is not installed: apt-get install haproxy")
    count, first = (200, 200) if quick else (1000, WARM_UP)
    found: dict[int, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        clusters = {
            size: stack.enter_context(Cluster(enclaves=size, settings=SETTINGS)) for size in SIZES
        }
        for cluster in clusters.values():
            settle(cluster)
        for number in range(ROUNDS + 1):
            for size, cluster in clusters.items():
                # As many for each member: what its replay memory touches first is the same then.
                asked = size * (count if number else first)
                row = one_round(cluster, size * CONNECTIONS, Path(name), asked)
                if number:  # the first warms up
                    found.setdefault(size, []).append(row)
        idle = {size: at_rest(cluster) for size, cluster in clusters.items()}
    return {
        title(size): {
            **{kind: statistics.median(row[kind] for row in taken) for kind in taken[0]},
            **idle[size],
        }
        for size, taken in found.items()
    }


def title(size: int) -> str:
    """Return the name of a row."""
    return f"{size} member{'s' * (size > 1)}, {size * CONNECTIONS} connections"


def settle(cluster: Cluster) -> None:
    """Wait until all members share the key that clients are told of, and HAProxy has its slots."""
    while True:
        # The newest key that is told, of whichever mechanism: both have the same slots.
        owners = front.owners(cluster.folder, newest_key(cluster.address).key_id)
        if len(owners) == SLOTS and len(set(owners.values())) == cluster.enclaves:
            return
        time.sleep(LOOK_SECONDS)


def one_round(cluster: Cluster, connections: int, folder: Path, count: int) -> dict[str, float]:
    """Seal `count` requests, send them all; return what they cost by part, in microseconds."""
    file = folder / "requests"
    config = newest_key(cluster.address)
    server.write_requests(file, count, lambda: server.sealed_post(config, b"/v1/models"))
    processes.settle()
    before = cluster.seconds()
    result = server.load(cluster.address, file, connections)
    used = {kind: seconds - before[kind] for kind, seconds in cluster.seconds().items()}
    parts = {f"{kind} CPU µs": 1e6 * used[kind] / count for kind in ("enclaves", "host_proxy")}
    parts["HAProxy CPU µs"] = 1e6 * used["HAProxy"] / count
    return {
        **parts,
        "all three CPU µs": sum(parts.values()),
        "requests/s": count / result["seconds"],
    }


def at_rest(cluster: Cluster) -> dict[str, float]:
    """Return what runs on when nobody asks, in milliseconds of CPU a second."""
    before = cluster.seconds()
    time.sleep(IDLE_SECONDS)
    used = {kind: seconds - before[kind] for kind, seconds in cluster.seconds().items()}
    agent = used.pop("agent")
    return {
        "agent ms/s": 1e3 * agent / IDLE_SECONDS,
        "others at rest ms/s": 1e3 * sum(used.values()) / IDLE_SECONDS,
    }

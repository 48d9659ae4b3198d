"""Memory of connections that are open and idle after an answer."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scripts.benchmark import server
from scripts.benchmark.server import Target
from scripts.local import processes

WARM_UP = 10  # what the first connections make a process load is not theirs


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return KiB per idle connection, in the server and in host_proxy."""
    count = 100 if quick else 900  # a worker takes 1,000
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        with server.gateway_alone(Path(name)) as target:
            alone = _per_connection(target, target.server.process.pid, count)
        with server.gateway_alone(Path(name)) as target, server.proxied(target) as through:
            proxy = _per_connection(through, through.proxy_pid, count)
    return {
        "enclave_server": {"KiB per connection": alone, "connections": count},
        "host_proxy": {"KiB per connection": proxy, "connections": count},
    }


def _per_connection(target: Target, pid: int, count: int) -> float:
    held = server.hold(target.address, WARM_UP)
    before = processes.memory_kib(pid)
    held += server.hold(target.address, count)
    processes.settle()
    used = processes.memory_kib(pid) - before
    for stream in held:
        stream.close()
    return used / count

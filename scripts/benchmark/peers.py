"""Our gateway beside other people's, taking turns under the same load in one run.

All open the same kind of sealed requests of 1 KiB, of either mechanism, and answer at once with 400
octets, each with one thread or one worker. Only ours checks dates and replays, and pads its answers
to 1 KiB.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from protocol.kem import KEMS, Kem
from scripts.benchmark import server
from scripts.benchmark.server import Target
from scripts.local import processes
from scripts.local.stack import Child, silent
from tests.interop.peers import build_go, build_rust

CONNECTIONS, ROUNDS = 32, 5
SEED = bytes(range(32))


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return the medians of every gateway's rounds."""
    count = 400 if quick else 4000
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as name, ExitStack() as stack:
        folder = Path(name)
        ours = stack.enter_context(server.gateway_alone(folder))
        targets = [
            replace(ours, title=f"{ours.title}, {kem.name}", kem=kem) for kem in KEMS.values()
        ]
        targets += [stack.enter_context(peer) for peer in _peers(folder)]
        for number in range(ROUNDS + 1):
            for target in targets:
                row = server.one_round(target, CONNECTIONS, folder, count)
                row["memory MiB"] = processes.memory_kib(target.server.process.pid) / 1024
                if number:  # the first warms up
                    found.setdefault(target.title, []).append(row)
    return {
        title: {name: statistics.median(row[name] for row in taken) for name in taken[0]}
        for title, taken in found.items()
    }


def _peers(folder: Path) -> Iterator[AbstractContextManager[Target]]:
    rust, go = build_rust(), build_go()
    for kem in KEMS.values():
        path = folder / f"{kem.code}"
        yield _running("Rust, crate ohttp on hyper", rust, path.with_suffix(".rust"), kem)
        yield _running("Go, openpcc/ohttp on net/http", go, path.with_suffix(".go"), kem)


@contextmanager
def _running(title: str, command: tuple[str, ...], path: Path, kem: Kem) -> Iterator[Target]:
    options = ["gateway", "--listen", f"unix:{path}", "--key", SEED.hex(), "--answer", "instant"]
    options += ["--kem", kem.name]
    child = Child(title, [*command, *options], {"GOMAXPROCS": "1"})
    try:
        child.wait_ready(silent)
        named = f"{title}, {kem.name}"
        yield Target(named, child, f"unix:{path}", b"/v1/models", keys="/", kem=kem)
    finally:
        child.stop()

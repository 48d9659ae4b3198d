"""Measure what a request costs, and print, keep and draw it.

    scripts/bench [--quick] [--json FILE] [--svg FILE] [ROWS ...]

ROWS are some of: crypto, steps, dialects, server, payment, peers, alternatives, proxy, writes,
memory, evidence, streaming, clock, front, issuer (default: all).
Everything in one table comes from one run. Prints tables; a whole run also writes docs/bench.json
and a picture, docs/bench.svg, unless --json or --svg name other files.
Machines differ and are noisy: compare rows of one run with each other, not with other runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from scripts.benchmark import (
    alternatives,
    clock,
    dialects,
    evidence,
    floor,
    front,
    issuer,
    memory,
    payment,
    peers,
    picture,
    proxies,
    server,
    small_writes,
    steps,
    streaming,
)

ROOT = Path(__file__).resolve().parents[2]

Rows = dict[str, dict[str, float]]
SECTIONS: dict[str, tuple[str, Callable[[bool], Rows]]] = {
    "crypto": ("CPU microseconds of the cryptography", floor.rows),
    "steps": ("CPU microseconds of a request's steps", steps.rows),
    "dialects": ("CPU microseconds of each dialect", dialects.rows),
    "server": ("the server under load", server.rows),
    "payment": ("paid requests beside unpaid ones, 32 connections", payment.rows),
    "peers": ("beside other gateways, 32 connections", peers.rows),
    "alternatives": ("in front of one upstream, 32 connections", alternatives.rows),
    "proxy": ("host_proxy and socat", proxies.rows),
    "writes": ("host_proxy writing to vsock", small_writes.rows),
    "memory": ("memory of idle connections", memory.rows),
    "evidence": ("evidence, signatures, replays", evidence.rows),
    "streaming": ("streams", streaming.rows),
    "clock": ("streams beside large requests", clock.rows),
    "front": ("through HAProxy to a cluster's members", front.rows),
    "issuer": ("the issuer of tokens", issuer.rows),
}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("sections", nargs="*", metavar="ROWS", choices=[*SECTIONS, []])
    return parser.parse_args()


def machine() -> dict[str, object]:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {"processor": model, **interpreter(), "date": time.strftime("%F")}


def interpreter() -> dict[str, str]:
    """Return version, optimisation and linking of the Python that is measured.

    Debian's is profile-guided by its packaging, which sysconfig does not tell; its place does.
    """
    options = str(sysconfig.get_config_var("CONFIG_ARGS"))
    guided = "yes" if "--enable-optimizations" in options else "not by --enable-optimizations"
    if sys.base_prefix == "/usr":
        guided = "as the distribution builds it"
    # Py_ENABLE_SHARED says that there is a shared library, not that this program uses it.
    shared = "/libpython" in Path("/proc/self/maps").read_text()
    return {
        "python": platform.python_version(),
        "profile-guided": guided,
        "libpython": "shared" if shared else "static",
    }


def show(title: str, rows: Rows) -> None:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    width = max(len(name) for name in rows)
    print(f"\n{title}\n{'':{width}}" + "".join(f"{name:>22}" for name in columns))
    for name, row in rows.items():
        cells = (f"{row[column]:>22,.2f}" if column in row else " " * 22 for column in columns)
        print(f"{name:{width}}" + "".join(cells), flush=True)


def main() -> int:
    options = parse()
    measured: dict[str, object] = {"machine": machine(), "quick": options.quick}
    print(", ".join(f"{name}: {value}" for name, value in machine().items()), flush=True)
    pictured: dict[str, Rows] = {}
    for name in options.sections or SECTIONS:
        title, measure = SECTIONS[name]
        print(f"measuring: {title} …", file=sys.stderr, flush=True)
        rows = measure(options.quick)
        show(title, rows)
        measured[name] = pictured[title] = rows
    keep(options, json.dumps(measured, indent=1) + "\n", picture.draw(pictured))
    return 0


def keep(options: argparse.Namespace, text: str, drawn: str) -> None:
    """Write what was asked for; a whole run without any wish is the one that the documents show."""
    is_whole = not options.quick and not options.sections
    if is_whole and options.json is None and options.svg is None:
        options.json, options.svg = ROOT / "docs/bench.json", ROOT / "docs/bench.svg"
    for path, content in ((options.json, text), (options.svg, drawn)):
        if path is not None:
            path.write_text(content)
            print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

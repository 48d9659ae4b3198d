"""What it costs host_proxy that it writes to vsock 28 KiB at a time, and not all that there is.

No vsock connection is opened: a Unix socket stands in for it, copied from like vsock, and written
to by one process in small writes, by the other without a bound. They take turns in one run. A
packet of vsock costs more than a write to a Unix socket: this is the cost of the calls alone.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from scripts.benchmark import against_socat as bench_proxy

AS_VSOCK = """
import socket, sys
from host_proxy import carrying
from host_proxy.cli import main
carrying.SPLICED_FAMILIES = carrying.TCP_FAMILIES
carrying.SMALL_WRITE_FAMILIES = frozenset((socket.AF_UNIX,) if SMALL else ())
sys.exit(main())
"""
SMALL, LARGE = "writes of 28 KiB", "writes of 1 MiB"


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return speed and CPU time of both, each with its ratio."""
    effort = bench_proxy.QUICK if quick else bench_proxy.FULL
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        path = Path(directory) / "upstream"
        with (
            bench_proxy.on_one_core(),
            bench_proxy.running_upstream(path),
            contextlib.ExitStack() as stack,
        ):
            small, large = (
                stack.enter_context(bench_proxy.running_host_proxy(path, name, ("-c", program)))
                for name, program in (
                    (SMALL, AS_VSOCK.replace("SMALL else", "True else")),
                    (LARGE, AS_VSOCK.replace("SMALL else", "False else")),
                )
            )
            measured = [
                bench_proxy.compare(row, small, [large], effort.rounds)
                for row in bench_proxy.load(effort)
            ]
    return {name: cells for row in measured for name, cells in _cells(row).items()}


def _cells(row: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        f"{row['row']}, {row['unit']}": {**row["speed"], "ratio of writes": row["speed_ratio"]},
        f"{row['row']}, CPU {row['cpu_unit']}": {**row["cpu"], "ratio of writes": row["cpu_ratio"]},
    }

"""host_proxy beside the best of socat's settings, taking turns in one run."""

from __future__ import annotations

from scripts.benchmark import against_socat as bench_proxy


def rows(quick: bool) -> dict[str, dict[str, float]]:
    """Return speed and CPU time of both, each with its ratio."""
    measured = bench_proxy.measure(bench_proxy.QUICK if quick else bench_proxy.FULL)
    found: dict[str, dict[str, float]] = {}
    for row in measured["rows"]:
        speed, cpu = row["speed"], row["cpu"]
        found[f"{row['row']}, {row['unit']}"] = {
            "host_proxy": speed["host_proxy"],
            "best socat": speed[row["fastest_socat"]],
            "ratio": row["speed_ratio"],
        }
        found[f"{row['row']}, CPU {row['cpu_unit']}"] = {
            "host_proxy": cpu["host_proxy"],
            "best socat": cpu[row["thriftiest_socat"]],
            "ratio": row["cpu_ratio"],
        }
    return found

"""Prometheus' text format, version 0.0.4."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Sample = tuple[Mapping[str, str], float]  # labels, value


@dataclass(frozen=True, slots=True)
class Family:
    """One metric and its samples."""

    name: str
    kind: Literal["counter", "gauge"]
    meaning: str
    samples: Sequence[Sample]


def text(families: Iterable[Family]) -> bytes:
    """Return the metrics as a scraper reads them."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.meaning}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{_labels(labels)} {value}" for labels, value in family.samples]
    return "".join(line + "\n" for line in lines).encode()


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f"{name}={_quoted(value)}" for name, value in labels.items()) + "}"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'

"""The bench as a picture: one bar chart a table, in SVG that needs nothing to be seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from html import escape

WIDTH, LABEL, BAR, LINE = 860, 330, 430, 20
HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
    'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
)

Rows = Mapping[str, Mapping[str, float]]


def draw(tables: Mapping[str, Rows]) -> str:
    """Return a picture of one column of every table: its ratios, or what most rows have."""
    parts: list[str] = []
    top = 10
    for title, rows in tables.items():
        drawn, top = _chart(title, rows, top)
        parts += drawn
    return "\n".join([HEAD.format(width=WIDTH, height=top + 10), *parts, "</svg>"]) + "\n"


def _chart(title: str, rows: Rows, top: int) -> tuple[list[str], int]:
    counts = Counter(name for row in rows.values() for name in row)
    column = "ratio" if "ratio" in counts else counts.most_common(1)[0][0]
    values = {name: row[column] for name, row in rows.items() if column in row}
    longest = max(values.values()) or 1.0
    parts = [_text(10, top + 14, f"{title}: {column}", "bold")]
    top += LINE + 4
    for name, value in values.items():
        length = max(1.0, BAR * value / longest)
        parts.append(_text(LABEL, top + 13, name, "normal", "end"))
        place = f'x="{LABEL + 10}" y="{top + 2}"'
        parts.append(f'<rect {place} width="{length:.1f}" height="14" fill="#4a7ab5"/>')
        parts.append(
            _text(
                LABEL + 16 + int(length),
                top + 13,
                f"{value:,.3g}" if value < 10 else f"{value:,.0f}",
            )
        )
        top += LINE
    return parts, top + LINE


def _text(x: int, y: int, text: str, weight: str = "normal", anchor: str = "start") -> str:
    return (
        f'<text x="{x}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">{escape(text)}</text>'
    )

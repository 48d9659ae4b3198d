"""Draw the pictures of the documents from their text: who says what to whom, in order.

    python -m scripts.local.pictures [--check]

docs/pictures/NAME.txt becomes docs/NAME.svg. A text has a line `title TEXT`, lines
`lane NAME | TITLE | SUBTITLE`, then `FROM -> TO | TEXT` and `note LANE | TEXT`. --check writes
nothing and ends with 1 if a picture is not what its text says.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TEXTS = ROOT / "docs" / "pictures"

LANE_WIDTH, ROW_HEIGHT = 216, 34
HEAD_HEIGHT, MARGIN = 92, 24
NOTE_WIDTH = 178
STYLE = """
text { font: 13px sans-serif; fill: #1f2328; text-anchor: middle }
.title { font-size: 17px; font-weight: bold }
.lane { font-weight: bold }
.small { font-size: 11px; fill: #59636e }
.life { stroke: #d1d9e0; stroke-dasharray: 4 4 }
.box { fill: #f6f8fa; stroke: #818b98 }
.note { fill: #fff8c5; stroke: #d4a72c }
.arrow { stroke: #0969da; stroke-width: 1.5; marker-end: url(#head) }
.ground { fill: #ffffff }
""".strip()


class PictureError(Exception):
    """A text cannot be drawn; the message names the line."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One who takes part: a column."""

    name: str
    title: str
    subtitle: str


@dataclass(frozen=True, slots=True)
class Step:
    """A row: something goes from one lane to another, or, where both are one, a note."""

    source: str
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """What a text says."""

    title: str
    lanes: tuple[Lane, ...]
    steps: tuple[Step, ...]


def read(text: str) -> Picture:
    """Return the picture that `text` describes; raises PictureError."""
    title, lanes, steps = "", [], []
    for number, line in enumerate(text.splitlines(), 1):
        words, *rest = [part.strip() for part in line.split("|")]
        match words.split(), rest:
            case [], []:
                continue
            case ["title", *_], []:
                title = words.removeprefix("title").strip()
            case ["lane", name], [heading, subtitle]:
                lanes.append(Lane(name, heading, subtitle))
            case ["note", lane], [said]:
                steps.append(Step(lane, lane, said))
            case [source, "->", target], [said]:
                steps.append(Step(source, target, said))
            case _:
                raise PictureError(f"line {number} is not understood: {line}")
    names = {lane.name for lane in lanes}
    for step in steps:
        if not {step.source, step.target} <= names:
            raise PictureError(f"no lane for: {step.source} -> {step.target} | {step.text}")
    return Picture(title, tuple(lanes), tuple(steps))


def draw(picture: Picture) -> str:
    """Return the picture as SVG."""
    width = 2 * MARGIN + LANE_WIDTH * len(picture.lanes)
    height = MARGIN + HEAD_HEIGHT + ROW_HEIGHT * (len(picture.steps) + 1)
    centres = {
        lane.name: MARGIN + LANE_WIDTH * place + LANE_WIDTH // 2
        for place, lane in enumerate(picture.lanes)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(picture.title)}</title>",
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" '
        'markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z" fill="#0969da"/></marker></defs>',
        f'<rect class="ground" width="{width}" height="{height}"/>',
        _text(width // 2, MARGIN + 4, picture.title, "title"),
    ]
    for lane in picture.lanes:
        parts += _lane(lane, centres[lane.name], height)
    for row, step in enumerate(picture.steps):
        middle = MARGIN + HEAD_HEIGHT + ROW_HEIGHT * row + ROW_HEIGHT // 2
        parts += _step(step, centres[step.source], centres[step.target], middle)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _lane(lane: Lane, centre: int, height: int) -> list[str]:
    top, box = MARGIN + 20, LANE_WIDTH - 16
    return [
        f'<line class="life" x1="{centre}" y1="{top + 46}" x2="{centre}" y2="{height - MARGIN}"/>',
        f'<rect class="box" x="{centre - box // 2}" y="{top}" width="{box}" height="46" rx="6"/>',
        _text(centre, top + 20, lane.title, "lane"),
        _text(centre, top + 37, lane.subtitle, "small"),
    ]


def _step(step: Step, source: int, target: int, middle: int) -> list[str]:
    if source == target:
        left, top = source - NOTE_WIDTH // 2, middle - 13
        return [
            f'<rect class="note" x="{left}" y="{top}" width="{NOTE_WIDTH}" height="26" rx="3"/>',
            *_lines(source, middle, step.text),
        ]
    x = (source + target) // 2
    return [
        _text(x, middle - 2, step.text, "small"),
        f'<line class="arrow" x1="{source}" y1="{middle + 6}" x2="{target}" y2="{middle + 6}"/>',
    ]


def _lines(centre: int, middle: int, text: str) -> list[str]:
    """Return a note's text, on two lines if one is too short for it."""
    if len(text) <= 32:
        return [_text(centre, middle + 4, text, "small")]
    cut = text.rfind(" ", 0, len(text) // 2 + 4)
    first, second = text[:cut], text[cut + 1 :]
    return [_text(centre, middle - 1, first, "small"), _text(centre, middle + 10, second, "small")]


def _text(x: int, y: int, text: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>'


def main() -> int:
    """Write the pictures, or check them."""
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for source in sorted(TEXTS.glob("*.txt")):
        target = ROOT / "docs" / f"{source.stem}.svg"
        drawn = draw(read(source.read_text(encoding="utf-8")))
        if not check:
            target.write_text(drawn, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != drawn:
            stale.append(target.relative_to(ROOT).as_posix())
    for name in stale:
        print(f"error: {name} is not what its text says: run this without --check", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())

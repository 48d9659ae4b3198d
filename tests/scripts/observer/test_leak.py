"""The observer: it tells apart what differs, does not what does not, and its page is complete."""

import importlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from protocol.shaping import GeometricSeries
from scripts.observer import answers, payment_page, shortest
from scripts.observer.finding import Finding
from scripts.observer.watching import Trace

ROOT = Path(__file__).resolve().parents[3]
SERIES = GeometricSeries(5, 1.5)
TICK = 0.1
KINDS = ("one", "two", "three", "four")


def needed(package: str) -> None:
    """Skip where the bench lock is not installed, as `scripts/test` does it."""
    pytest.importorskip(package, reason=f"{package} is missing: scripts/test installs it")


@pytest.fixture
def telling() -> Any:
    """The part that stands on scikit-learn, which the bench lock brings."""
    needed("sklearn")
    return importlib.import_module("scripts.observer.telling")


def traces(size: dict[str, int], of_each: int = 40) -> list[Trace]:
    """Return traces of 12 ticks with jitter, whose kinds differ in the size of their pieces."""
    made = []
    for kind in KINDS:
        for number in range(of_each):
            moments = (0.05 + TICK * tick + random.gauss(0, 0.001) for tick in range(12))
            made.append(Trace(f"{kind}/{number}", [(at, size[kind]) for at in moments]))
    return made


def test_what_differs_is_told_apart(telling: Any) -> None:
    differing = traces({kind: 100 + 10 * place for place, kind in enumerate(KINDS)})
    classes = telling.balanced(differing, TICK, SERIES, random.SystemRandom())
    assert list(classes) == [12]
    for verdict in telling.judge(classes, TICK):
        assert verdict.accuracy > 0.95
        assert verdict.chance == 0.25
        low, high = verdict.interval
        assert low < verdict.accuracy <= high


def test_what_does_not_differ_is_not(telling: Any) -> None:
    alike = traces(dict.fromkeys(KINDS, 100))
    classes = telling.balanced(alike, TICK, SERIES, random.SystemRandom())
    for verdict in telling.judge(classes, TICK):
        assert verdict.accuracy < 0.5  # a quarter is right by chance


def test_a_share_lies_in_its_interval(telling: Any) -> None:
    for count in range(1, 400):
        for right in (0, count // 2, count):
            verdict = telling.Verdict("any", count, right, 0.25)
            low, high = verdict.interval
            assert low <= verdict.accuracy <= high


def test_kinds_need_enough_traces(telling: Any) -> None:
    few = traces(dict.fromkeys(KINDS, 100), of_each=5)
    with pytest.raises(ValueError, match="5 traces of one kind, and 10 are needed"):
        telling.balanced(few, TICK, SERIES, random.SystemRandom())


def test_kinds_that_share_no_duration_are_told_by_it(telling: Any) -> None:
    made = traces(dict.fromkeys(KINDS, 100))
    for trace in made:  # alike but for this: each kind goes on for longer than the one before
        turns = range(1, 1 + list(KINDS).index(trace.kind))
        first = [at for at, _ in trace.arrivals[:12]]
        trace.arrivals.extend((at + 1.2 * turn, 100) for at in first for turn in turns)
        trace.arrivals.sort()
    classes = telling.balanced(made, TICK, SERIES, random.SystemRandom())
    assert {ticks: len(group) for ticks, group in classes.items()} == {telling.ALL: 160}
    for verdict in telling.judge(classes, TICK):
        assert verdict.accuracy > 0.8  # a quarter by chance


def test_scripts_have_the_length_that_was_drawn() -> None:
    chance = random.SystemRandom()
    shortest, longest = answers.LENGTH_SECONDS
    recordings = {"recorded": [[(0.5, "a"), (0.2, "b")]]}
    made = answers.scripts(recordings, 20, chance)
    assert len(made) == 20 * (len(answers.MADE_UP) + 1)
    for key, script in made.items():
        seconds = (
            sum(gap for gap, _ in script) if isinstance(script, list) else float(script["after"])
        )
        assert shortest - 0.1 <= seconds <= longest + 0.2, key


def test_the_shortest_answers_end_before_the_shortest_duration() -> None:
    made = shortest.scripts(50, random.SystemRandom())
    assert len(made) == 50 * len(shortest.KINDS)
    for script in made.values():
        assert isinstance(script, dict)
        assert script["after"] <= 0.35


def test_the_part_on_the_shortest_answer_is_replaced_alone() -> None:
    found = [Finding("0.5 s", traces(dict.fromkeys(KINDS, 100)), [], is_of_questions=True)]
    part = shortest.section(found)
    assert "after 1.15 s (0.5 s)" in part
    before, after = "# A\n\nbefore\n\n", f"{shortest.FOLLOWING}\nafter\n"
    for page in (f"{before}{shortest.HEADING}\nold\n\n{after}", before + after):
        made = shortest.replaced(page, part)
        assert made == f"{before}{part}\n{after}"
        assert shortest.replaced(made, part) == made
    with pytest.raises(ValueError, match="no place"):
        shortest.replaced("# A\n", part)


def test_the_part_on_payments_stands_beside_that_on_the_shortest_answer(telling: Any) -> None:
    verdict = telling.Verdict("forest", 1800, 450, 0.25)
    found = [
        Finding(padding, traces(dict.fromkeys(KINDS, 100)), [verdict], is_of_questions=True)
        for padding in ("off", "on")
    ]
    part = payment_page.section(found)
    assert "right 25.0 % of the time" in part
    assert "within 2.0 points" in part
    assert "| on | forest | 1,800 | 25.0% |" in part
    page = f"# A\n\n{shortest.HEADING}\nother\n\n{shortest.FOLLOWING}\nafter\n"
    made = shortest.replaced(page, part, payment_page.HEADING)
    assert shortest.replaced(made, part, payment_page.HEADING) == made
    assert made.replace(f"{part}\n", "") == page


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ([], [ROOT / "docs"]),
        (["--quick"], []),
        (["--quick", "--folder", "here"], [Path("here")]),
    ],
)
def test_a_quick_run_never_replaces_the_one_that_is_kept(
    arguments: list[str], written: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    needed("sklearn")
    needed("matplotlib")
    leak: Any = importlib.import_module("scripts.observer.leak")
    kept: list[Path] = []
    monkeypatch.setattr(sys, "argv", ["leak", *arguments])
    monkeypatch.setattr(leak, "record", lambda *_: {})
    monkeypatch.setattr(leak, "observe", lambda *_: None)
    monkeypatch.setattr(leak, "observe_shortest", lambda *_: [])
    monkeypatch.setattr(leak, "observe_payments", lambda *_: [])
    for name in ("verdict_rows", "cost_rows"):
        monkeypatch.setattr(leak.finding, name, lambda _: "")
    monkeypatch.setattr(leak, "keep", lambda *given: kept.append(given[-1]))
    assert leak.main() == 0
    assert kept == written


@pytest.mark.slow
def test_the_page_is_written(tmp_path: Path) -> None:
    needed("sklearn")
    needed("matplotlib")
    command = [
        sys.executable,
        "-m",
        "scripts.observer.leak",
        "--quick",
        "--folder",
        str(tmp_path),
    ]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    figures = json.loads((tmp_path / "leak.json").read_text())
    assert [each["padding"] for each in figures["payments"]] == ["off", "on"]
    off, on = figures["findings"]
    best = {
        each["padding"]: max(c["accuracy"] for c in each["classifiers"].values())
        for each in (off, on)
    }
    assert best["off"] > 0.8
    assert best["on"] < 0.5
    page = (tmp_path / "leak.md").read_text()
    for section in (page, page.partition("## Paid, refused and free")[2]):
        assert "| on | random forest |" in section.partition("\n## ")[0]
    assert (tmp_path / "leak.svg").read_text().startswith("<?xml")

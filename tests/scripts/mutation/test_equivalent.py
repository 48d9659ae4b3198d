"""What is not tried: only what is named by its line and kind, and with a reason."""

import tomllib
from pathlib import Path

import pytest

from scripts.mutation.equivalent import FILE, Equivalents, NotThere
from scripts.mutation.mutants import mutants

ROOT = Path(__file__).resolve().parents[3]
SOURCE = b"PIECE = 4\n\n\ndef piece() -> int:\n    return PIECE * 2\n"


def named(line: str, kind: str, becomes: str = "") -> Equivalents:
    return Equivalents({"a/b.py": frozenset({(line, kind, becomes)})})


@pytest.mark.parametrize(
    ("line", "kind", "left"),
    [
        ("PIECE = 4", "constant", {"arithmetic", "constant", "returned None"}),
        ("PIECE = 4", "dropped call", {"arithmetic", "constant", "returned None"}),
        ("return PIECE * 2", "arithmetic", {"constant", "returned None"}),
    ],
)
def test_only_the_line_and_the_kind_that_are_named_are_left_out(
    line: str, kind: str, left: set[str]
) -> None:
    found = mutants(SOURCE)
    kept = list(named(line, kind).without("a/b.py", SOURCE, found))
    assert {each.kind for each in kept} == left
    assert [each for each in found if each not in kept] == [
        each
        for each in found
        if each.kind == kind and SOURCE.splitlines()[each.line - 1].strip() == line.encode()
    ]
    assert list(named(line, kind).without("a/c.py", SOURCE, found)) == found


def test_one_change_of_a_kind_can_be_left_out_alone() -> None:
    found = mutants(SOURCE)
    kept = list(named("PIECE = 4", "constant", "(4 - 1)").without("a/b.py", SOURCE, found))
    assert [each.text for each in found if each not in kept] == ["(4 - 1)"]


def test_a_line_that_has_gone_is_an_error() -> None:
    with pytest.raises(NotThere, match=r"a/b\.py has no line 'PIECE = 5'"):
        list(named("PIECE = 5", "constant").without("a/b.py", SOURCE, mutants(SOURCE)))


def test_a_checkout_without_the_file_leaves_nothing_out(tmp_path: Path) -> None:
    assert Equivalents.of(tmp_path) == Equivalents({})


def test_each_place_has_a_reason_a_line_and_something_to_leave_out() -> None:
    places = tomllib.loads((ROOT / FILE).read_text(encoding="utf-8"))["place"]
    known = Equivalents.of(ROOT)
    for place in places:
        assert set(place) - {"becomes"} == {"module", "line", "kind", "reason"}
        assert len(place["reason"].split()) >= 5, place
        source = (ROOT / place["module"]).read_bytes()
        found = mutants(source)
        assert len(list(known.without(place["module"], source, found))) < len(found)
    listed = {(each["module"], each["line"], each["kind"], each.get("becomes")) for each in places}
    assert len(listed) == len(places)

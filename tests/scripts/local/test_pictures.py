"""The pictures of the documents are what their texts say, and wrong texts are told."""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from scripts.local import pictures
from scripts.local.pictures import PictureError, Step, draw, read

TEXT = """
title Who & what
lane a | A | first
lane b | B<b> | second

a -> b | says "x"
note b | thinks, at some length, about what to answer
"""


def test_a_text_is_read() -> None:
    picture = read(TEXT)
    assert picture.title == "Who & what"
    assert [lane.subtitle for lane in picture.lanes] == ["first", "second"]
    assert picture.steps[0] == Step("a", "b", 'says "x"')
    assert picture.steps[1].source == picture.steps[1].target == "b"


def test_everything_that_is_said_is_drawn_once() -> None:
    tree = ElementTree.fromstring(draw(read(TEXT)))  # noqa: S314 - ours
    words = " ".join("".join(tree.itertext()).split())
    drawn = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert drawn[0] == "Who & what"
    assert "B<b>" in drawn
    assert drawn.count('says "x"') == 1
    assert "thinks, at some" in words
    assert "to answer" in words


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("a -> c | x", "no lane for: a -> c"),
        ("note c | x", "no lane for: c -> c"),
        ("a -> b", "line 8 is not understood"),
        ("lane c | C", "line 8 is not understood"),
        ("a b | x", "line 8 is not understood"),
    ],
)
def test_what_is_wrong_is_named(line: str, told: str) -> None:
    with pytest.raises(PictureError, match=told):
        read(f"{TEXT}{line}\n")


def test_the_pictures_are_up_to_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pictures", "--check"])
    assert pictures.main() == 0, capsys.readouterr().err


def test_a_stale_picture_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    (tmp_path / "docs" / "pictures" / "one.txt").write_text(TEXT)
    monkeypatch.setattr(pictures, "ROOT", tmp_path)
    monkeypatch.setattr(pictures, "TEXTS", tmp_path / "docs" / "pictures")
    monkeypatch.setattr(sys, "argv", ["pictures", "--check"])
    assert pictures.main() == 1
    assert "docs/one.svg is not what its text says" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["pictures"])
    assert pictures.main() == 0
    monkeypatch.setattr(sys, "argv", ["pictures", "--check"])
    assert pictures.main() == 0

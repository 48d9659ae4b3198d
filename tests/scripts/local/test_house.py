"""The house's counts: rooms, arrows and floors of a package that is made for them."""

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

from scripts.local import house
from scripts.local.house import Package, counted

ROOT = Path(__file__).resolve().parents[3]


def graph(*imports: tuple[str, str]) -> grimp.ImportGraph:
    found = grimp.ImportGraph()
    for name in ("p", "p.a", "p.b", "p.c", "p.c.one", "p.c.two", "p.d"):
        found.add_module(name)
    for importer, imported in imports:
        found.add_import(importer=importer, imported=imported)
    return found


def counts(*imports: tuple[str, str]) -> dict[str, tuple[int, int, int]]:
    packages = counted(graph(*imports), "p")
    return {each.name: (len(each.rooms), len(each.arrows), each.floors) for each in packages}


def test_rooms_without_arrows_stand_on_one_floor() -> None:
    assert counts() == {"p": (4, 0, 1), "p.c": (2, 0, 1)}


def test_an_arrow_is_counted_once_for_two_rooms() -> None:
    assert counts(("p.a", "p.c.one"), ("p.a", "p.c.two"), ("p.c", "p.b"), ("p.c.one", "p.b")) == {
        "p": (4, 2, 3),
        "p.c": (2, 0, 1),
    }


def test_imports_within_a_room_are_arrows_of_that_room() -> None:
    assert counts(("p.c.one", "p.c.two"))["p"] == (4, 0, 1)
    assert counts(("p.c.one", "p.c.two"))["p.c"] == (2, 1, 2)


def test_floors_are_the_longest_chain_not_the_number_of_arrows() -> None:
    arrows = frozenset({("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")})
    assert Package("p", frozenset("abcd"), arrows).floors == 3


def test_a_circle_has_no_floors() -> None:
    assert counts(("p.a", "p.b"), ("p.b", "p.a"))["p"] == (4, 2, 0)


def test_the_command_counts_this_tree_and_that_of_a_commit() -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "scripts.local.house", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    here = run()
    assert here.returncode == 0, here.stderr
    first, *rows = here.stdout.splitlines()
    assert first.split() == ["package", "rooms", "arrows", "floors"]
    assert {row.split()[0] for row in rows} >= set(house.PACKAGES)
    assert not any("circle" in row for row in rows)
    committed = run("HEAD")
    assert committed.returncode == 0, committed.stderr
    assert committed.stdout.splitlines()[0] == first
    assert "protocol" in committed.stdout
    wrong = run("no-such-commit")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr.startswith("error: ")


def test_a_commit_that_lacks_packages_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("__init__", "low", "high"):
        (tmp_path / "protocol").mkdir(exist_ok=True)
        text = "import protocol.low\n" if name == "high" else ""
        (tmp_path / "protocol" / f"{name}.py").write_text(text)
    who = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "Begin"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(house, "ROOT", tmp_path)
    assert house.of_commit("HEAD") == 0
    assert [row.split() for row in capfd.readouterr().out.splitlines()[1:]] == [
        ["protocol", "2", "1", "2"]
    ]


def test_help_needs_no_environment() -> None:
    said = subprocess.run(
        [ROOT / "scripts" / "house", "--help"], capture_output=True, text=True, check=True
    )
    assert "scripts/house COMMIT" in said.stdout


@pytest.mark.parametrize("name", house.PACKAGES)
def test_each_package_is_there(name: str) -> None:
    assert (ROOT / name / "__init__.py").is_file()

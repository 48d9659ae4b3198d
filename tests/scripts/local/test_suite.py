"""All tests in parts: each test in one part alone, parts beside each other, failures told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.local import suite
from scripts.local.suite import PARTS, Ended, arguments, run

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(path.relative_to(ROOT) for path in (ROOT / suite.TESTS).rglob("test_*.py"))

# In place of pytest: says what it was given, and ends with the number that its part is named for.
ECHO = [
    sys.executable,
    "-S",
    "-c",
    "import sys; print(*sys.argv[1:]); sys.exit(int(sys.argv[1][0]))",
]

# Two that can only end together: one opens a pipe for reading, the other the same for writing.
MEET = [sys.executable, "-S", "-c", "import sys; open('{}', sys.argv[1])"]


def holds(part: str, file: Path) -> bool:
    """Say whether pytest finds a file, given the arguments of a part."""
    first, *rest = arguments(part)
    left_out = [each.removeprefix("--ignore=") for each in rest]
    return file.is_relative_to(first) and not any(map(file.is_relative_to, left_out))


def test_every_test_is_in_one_part_and_every_part_has_some() -> None:
    assert len(FILES) > 500
    for file in FILES:
        assert len([part for part in PARTS if holds(part, file)]) == 1, file
    for part in PARTS:
        assert any(holds(part, file) for file in FILES), part


def test_all_run_and_their_outcomes_are_told() -> None:
    ended = {each.part: each for each in run(ECHO, ["0", "1", "5", "0/a"], beside=2)}
    assert ended.keys() == {"0", "1", "5", "0/a"}
    assert ended["0"].output == b"0 --ignore=0/a\n"
    assert (ended["1"].code, ended["1"].output) == (1, b"1\n")
    assert ended["5"].outcome.startswith("5: failed: pytest ended with 5, ")
    assert ended["0"].outcome.startswith("0: passed, ")


def test_parts_run_beside_each_other(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    command = [word.replace("{}", str(pipe)) for word in MEET]
    assert [each.code for each in run(command, ["r", "w"], beside=2)] == [0, 0]


@pytest.mark.parametrize(("codes", "status"), [((0, 0), 0), ((0, 5), 1), ((1, 0), 1)])
def test_a_part_that_fails_or_is_empty_fails_the_whole(
    codes: tuple[int, ...],
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    found = [Ended(f"part {code}", code, b"as it was: \xff\n", 1.0) for code in codes]
    monkeypatch.setattr(suite, "run", lambda command: iter(found))
    assert suite.main() == status
    written = capfdbinary.readouterr().out
    assert written.count(b"as it was: \xff\npart ") == len(codes)
    last = written.splitlines()[-1]
    named = ", ".join(each.part for each in found if each.code)
    assert last.startswith(b"failed in " if named else b"all ")
    assert last.endswith(f" s: {named}".encode() if named else b" s")


def test_an_interrupt_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(command: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(suite, "run", interrupted)
    assert suite.main() == 130


def test_pytest_takes_the_arguments(tmp_path: Path) -> None:
    for name in ("test_own.py", "inner/test_inner.py"):
        (tmp_path / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tests" / name).write_text("def test() -> None: pass\n")
    for part, found in (("tests", b"test_own.py"), ("tests/inner", b"inner/test_inner.py")):
        command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
        words = arguments(part, ("tests", "tests/inner"))
        done = subprocess.run([*command, *words], cwd=tmp_path, capture_output=True, check=True)
        assert done.stdout.startswith(b"tests/" + found)
        assert done.stdout.count(b"::") == 1

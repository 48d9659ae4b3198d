"""The house: every module has its test file, and every test file a module or a reason."""

import subprocess
from pathlib import Path

import pytest

from scripts.mutation.mirror import ELSEWHERE, PACKAGES, mirrored

ROOT = Path(__file__).resolve().parents[1]

# Rooms of `scripts` whose programs are run whole and looked at; what of them decides something has
# its test file all the same.
RUN_WHOLE = {
    "scripts/benchmark/": "scripts/bench runs them, and what they print is read by people",
    "scripts/emulation/": "scripts/enclave-test runs them against the image, in each .ci/run",
    "scripts/observer/": "test_leak.py runs them together, as scripts/leak does",
    "scripts/soaking/": "test_soak.py runs them together, as scripts/soak does",
}


def tracked(*patterns: str) -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"]
    done = subprocess.run(
        [*command, *patterns], cwd=ROOT, capture_output=True, check=True, text=True
    )
    found = [Path(name) for name in done.stdout.split("\0") if name]
    return [path for path in found if path.name != "__init__.py" and (ROOT / path).is_file()]


MODULES = tracked(*(f"{name}/*.py" for name in PACKAGES))
SCRIPTS = [
    path
    for path in tracked("scripts/*.py")
    if (ROOT / path.parent / "__init__.py").exists() and path.parent != Path("scripts")
]


@pytest.mark.parametrize("module", [*MODULES, *SCRIPTS], ids=str)
def test_every_module_has_its_test_file(module: Path) -> None:
    if module.as_posix().startswith(tuple(RUN_WHOLE)):
        return
    place = Path(ELSEWHERE.get(module.as_posix(), mirrored(module)))
    assert (ROOT / place).is_file(), f"{module} has no tests: write {place}"


def test_exceptions_are_few_and_needed() -> None:
    modules = {module.as_posix() for module in (*MODULES, *SCRIPTS)}
    assert set(ELSEWHERE) <= modules
    assert all(not (ROOT / mirrored(Path(module))).exists() for module in ELSEWHERE)
    assert len([module for module in ELSEWHERE if module.startswith(PACKAGES)]) == 3
    assert all(any(each.startswith(room) for each in modules) for room in RUN_WHOLE)


def test_every_room_is_a_package_and_so_are_its_tests() -> None:
    for module in (*MODULES, *SCRIPTS):
        assert (ROOT / module.parent / "__init__.py").is_file(), module.parent
    for test in tracked("tests/*.py"):
        assert (ROOT / test.parent / "__init__.py").is_file(), test.parent

"""Which tests are a module's own: `tests/` mirrors the packages, with the exceptions named here."""

from pathlib import Path

PACKAGES = ("protocol", "enclave_server", "host_proxy", "oblivious_client", "token_issuer")

ELSEWHERE = {
    # Two lines that call `cli.main`: whoever starts the program runs them.
    "host_proxy/__main__.py": "tests/host_proxy/test_cli.py",
    "oblivious_client/__main__.py": "tests/oblivious_client/test_cli.py",
    "token_issuer/__main__.py": "tests/token_issuer/test_cli.py",
    # Parts of one command, which is tested whole: against good relays and bad ones.
    "scripts/relay_kit/bench.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/cli.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/reports.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/checks/answering.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/checks/keeping.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/checks/passing_on.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/checks/refusing.py": "tests/scripts/relay_kit/test_relay_check.py",
    "scripts/relay_kit/checks/streaming.py": "tests/scripts/relay_kit/test_relay_check.py",
}
"""Modules that have no test file of their own, and what tests them instead."""


def mirrored(module: Path) -> Path:
    """Return where the tests of a module stand; both paths are relative to the checkout."""
    return Path("tests") / module.parent / f"test_{module.name}"


def own_tests(module: Path, root: Path) -> list[Path]:
    """Return the test files of a module that are there: its own, and those named after it."""
    if named := ELSEWHERE.get(module.as_posix()):
        return [Path(named)]
    own = mirrored(module)
    beside = sorted((root / own.parent).glob(f"{own.stem}_*.py"))
    found = [own, *(each.relative_to(root) for each in beside)]
    return [each for each in found if (root / each).is_file()]


def neighbours(module: Path, root: Path) -> list[Path]:
    """Return the test files that stand beside a module's own, and are none of those."""
    folder = root / mirrored(module).parent
    there = {each.relative_to(root) for each in folder.glob("test_*.py")}
    return sorted(there.difference(own_tests(module, root)))


def promises(_: Path, root: Path) -> list[Path]:
    """Return the test files that hold any module's numbers against what the documents promise."""
    return [each for each in (Path("tests/test_limits.py"),) if (root / each).is_file()]

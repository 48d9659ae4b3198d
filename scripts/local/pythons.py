"""Run the client's tests on every Python that it is for and that this machine has.

Standard library only. Each gets an environment of its own below .cache/pythons, with the locked
packages, which are kept for the next time. What is not here is named and skipped; a run that finds
none fails.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
TESTS = ("tests/oblivious_client", "tests/protocol")
LOCK = ROOT / "scripts" / "requirements" / "dev.txt"
NAMED = "OBLIVIOUS_PYTHONS"  # paths of interpreters, apart by the system's separator


def candidates(environment: dict[str, str]) -> list[str]:
    """Return programs that may be interpreters, the ones that somebody named first."""
    named = [each for each in environment.get(NAMED, "").split(os.pathsep) if each]
    found = [shutil.which(f"python{version}", path=environment.get("PATH")) for version in VERSIONS]
    pyenv = Path(environment.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    own = sorted(str(each) for each in pyenv.glob("*/bin/python3"))
    return [*named, *own, *(each for each in found if each)]


def version_of(program: str) -> str | None:
    """Return the first two numbers of an interpreter's version, or None if it does not run."""
    probe = [program, "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def interpreters(programs: Sequence[str]) -> dict[str, str]:
    """Return the first interpreter of each version."""
    found: dict[str, str] = {}
    for program in programs:
        version = version_of(program)
        if version in VERSIONS:
            found.setdefault(version, program)
    return dict(sorted(found.items()))


def make(version: str, program: str) -> Path:
    """Return the Python of an environment that has the locked packages."""
    place = ROOT / ".cache" / "pythons" / version
    python = place / "bin" / "python"
    stamp = place / "lock"
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest and version_of(str(python)) == version:
        return python
    subprocess.run([program, "-m", "venv", "--clear", str(place)], check=True)
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    # The lock is whole, and its hashes are those of the files for every Python.
    subprocess.run([*pip, "--require-hashes", "--no-deps", "--requirement", str(LOCK)], check=True)
    project = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    subprocess.run([*pip, *project], check=True)  # its commands, and what it says of itself
    stamp.write_text(digest)
    return python


def run(python: Path, arguments: Sequence[str]) -> int:
    """Run the tests; return pytest's exit code."""
    command = [str(python), "-m", "pytest", "--quiet", *(arguments or TESTS)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main(arguments: Sequence[str]) -> int:
    """Run the tests on each interpreter; return 1 if any failed or none is here."""
    found = interpreters(candidates(dict(os.environ)))
    ended: dict[str, str] = {}
    for version in VERSIONS:
        if version not in found:
            ended[version] = f"not here: name one in {NAMED}"
            continue
        print(f"Python {version}: {found[version]}", flush=True)
        try:
            code = run(make(version, found[version]), arguments)
        except subprocess.CalledProcessError as failure:
            ended[version] = f"failed: {failure}"
            continue
        ended[version] = "passed" if code == 0 else f"failed: pytest ended with {code}"
    for version, outcome in ended.items():
        print(f"Python {version}: {outcome}")
    return int(not found or any(outcome.startswith("failed") for outcome in ended.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

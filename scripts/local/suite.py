"""Run all tests: in parts that run beside each other, and report one after another.

Standard library only. Tests that start programs and wait for them leave the processors to others,
so there are twice as many parts at a time as there are processors. What stands in one part runs in
one process: what its tests share is started once. Ends with 1 if any part failed, or ran no test.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = "tests"

# The longest first, so that none is left over when the others have ended.
PARTS = (
    "tests/oblivious_client",
    "tests/token_issuer",
    "tests/end_to_end",
    "tests/scripts",
    "tests/scripts/deploy",
    "tests/enclave_server",
    "tests/interop",
    "tests/enclave_server/processes",
    "tests/enclave_server/chat",
    "tests/host_proxy",
    "tests/protocol",
    "tests/oblivious_client/local",
    TESTS,
)
"""Folders of tests; one that stands in another is no part of that."""


def arguments(part: str, parts: Sequence[str] = PARTS) -> list[str]:
    """Return what pytest is given to run the tests of one part, and of no other."""
    within = [other for other in parts if other.startswith(f"{part}/")]
    return [part, *(f"--ignore={other}" for other in within)]


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a part: pytest's exit code, all that it printed, and the seconds it took."""

    part: str
    code: int
    output: bytes
    seconds: float

    @property
    def outcome(self) -> str:
        """Say whether it passed."""
        said = "passed" if self.code == 0 else f"failed: pytest ended with {self.code}"
        return f"{self.part}: {said}, {self.seconds:.0f} s"


def run_part(part: str, command: Sequence[str], parts: Sequence[str] = PARTS) -> Ended:
    """Run one part to its end."""
    begun = time.monotonic()
    done = subprocess.run(
        [*command, *arguments(part, parts)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return Ended(part, done.returncode, done.stdout, time.monotonic() - begun)


def run(
    command: Sequence[str], parts: Sequence[str] = PARTS, beside: int | None = None
) -> Iterator[Ended]:
    """Run every part with `command`, so many beside each other; yield each as it ends."""
    with ThreadPoolExecutor(beside or 2 * (os.cpu_count() or 1)) as pool:
        started = [pool.submit(run_part, part, command, parts) for part in parts]
        try:
            for each in as_completed(started):
                yield each.result()
        finally:  # an interrupt came to all that run: each ends in order, and no other begins
            for each in started:
                each.cancel()


def main() -> int:
    """Run the tests with this Python."""
    begun, failed = time.monotonic(), []
    try:
        for ended in run([sys.executable, "-m", "pytest"]):
            sys.stdout.buffer.write(ended.output + f"{ended.outcome}\n\n".encode())
            sys.stdout.flush()
            if ended.code != 0:
                failed.append(ended.part)
    except KeyboardInterrupt:
        return 130
    took = f"in {time.monotonic() - begun:.0f} s"
    if failed:
        print(f"failed {took}: {', '.join(failed)}")
        return 1
    print(f"all {len(PARTS)} parts of the tests passed {took}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

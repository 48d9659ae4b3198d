"""Runs of pytest that begin in a process which has loaded it, and what most tests import.

Started as a program, this reads one run a line, as JSON: pytest's arguments, and the file that gets
what it says. For each it forks, and writes first the number of the process that runs it and then
the code with which that ended.
"""

import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

LOADED = ("asyncio", "cbor2", "cryptography.x509", "h11", "httpx", "hypothesis", "msgspec")
"""None of the product may be among these: each run reads that anew."""

# Of plugins that are loaded already, whose assertions no run looks into.
QUIET = ("-W", "ignore::pytest.PytestAssertRewriteWarning")


class Warm:
    """Such a process. Its runs take place in `folder` and import from there first."""

    def __init__(self, folder: Path) -> None:
        self._said, name = tempfile.mkstemp(prefix="oblivious-mutate-said-")
        self._name = Path(name)
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise ValueError("a process without pipes")
        self._orders, self._answers = self._process.stdin, self._process.stdout

    def run(self, arguments: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """Run pytest; return its exit code, or None if it took too long, and what it said."""
        order = json.dumps({"arguments": [*QUIET, *arguments], "said": str(self._name)})
        self._orders.write(order.encode() + b"\n")
        runner = self._number()
        in_time = bool(select.select([self._answers], [], [], seconds)[0])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(runner, signal.SIGKILL)  # what a run leaves behind is of its session
        code = self._number()
        return code if in_time else None, self._name.read_text(errors="replace")

    def close(self) -> None:
        """End the process."""
        with self._process:
            pass  # which closes its input and waits
        os.close(self._said)
        self._name.unlink()

    def _number(self) -> int:
        if not (line := self._answers.readline()):
            raise ChildProcessError("the process that runs tests has ended")
        return int(line)


def main() -> None:
    """Run the program."""
    import pytest  # whoever only asks such a process needs none

    for name in LOADED:
        importlib.import_module(name)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        pytest.main(["--version"])  # which loads its own plugins
    for line in sys.stdin:
        order = json.loads(line)
        if not (runner := os.fork()):
            _run(order["arguments"], order["said"])
        print(runner, flush=True)
        _, status = os.waitpid(runner, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _run(arguments: list[str], said: str) -> None:
    import pytest

    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for standard in (1, 2):
            os.dup2(os.open(said, os.O_WRONLY | os.O_TRUNC | os.O_APPEND), standard)
        code = pytest.main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    main()

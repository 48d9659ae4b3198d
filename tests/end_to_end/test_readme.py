"""The examples of README.md, run as they stand against the whole path on this machine.

Addresses are replaced by those that the system chose. Set-up is left out: `test_scripts.py` has it.
"""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from scripts.local.paid_stack import PaidStack
from scripts.local.stack import PROGRAMS, ROOT, Stack

DEADLINE_SECONDS = 300.0
DEMO = f"{shlex.quote(sys.executable)} -P -m scripts.local.demo"
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = [
    (language, text.strip())
    for language, text in re.findall(
        r"^```(sh|python)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL
    )
]

# These go on until they are told to end: fixtures keep them up while the other examples run.
SERVE_ALL = "./scripts/demo --serve --port 8080"
SERVE_PAID = "./scripts/demo --serve --paid --port 8090"
SERVE = ".venv/bin/oblivious-client serve --allow-simulated"
# This is where the present test runs.
TEST = "./scripts/test"
NOT_RUN = {SERVE_ALL, SERVE_PAID, SERVE, TEST}

RELAY = "http://127.0.0.1:8080"
PAID_RELAY = "http://127.0.0.1:8090"
VOUCHER = "OBL-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ENDPOINT = "http://127.0.0.1:11435"


@dataclass(frozen=True)
class Shell:
    """A folder to work in, and what the README's words stand for here."""

    folder: Path
    replaced: dict[str, str]

    def real(self, text: str) -> str:
        for word, meaning in self.replaced.items():
            text = text.replace(word, meaning)
        return text

    def environment(self) -> dict[str, str]:
        """Return the variables that the examples set, all of them."""
        lines = [line for language, text in BLOCKS if language == "sh" for line in text.split("\n")]
        words = [word for line in lines if line.startswith("export ") for word in shlex.split(line)]
        given = dict(word.split("=", 1) for word in words if "=" in word)
        private = {
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "NO_PROXY": "*",
        }
        return os.environ | {name: self.real(value) for name, value in given.items()} | private

    def run(self, *command: str) -> str:
        """Return what a program wrote on standard output; it must succeed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def serving(command: str, relay: str) -> Iterator[str]:
    """Run `command`, the local endpoint, on a free port; give its URL."""
    words = [*shlex.split(command.replace(".venv/bin", shlex.quote(str(PROGRAMS)))), "--no-cache"]
    process = subprocess.Popen(
        [*words, "--listen", "127.0.0.1:0"],
        env=os.environ | {"OBLIVIOUS_RELAY": relay},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        said = ""
        while (found := re.search(r"OPENAI_BASE_URL=(\S+)/v1", said)) is None:
            line = process.stderr.readline()
            assert line, said
            said += line
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder = tmp_path_factory.mktemp("readme")
    pins = {f"PCR{index}": value.hex() for index, value in simulated_pcrs().items() if index < 3}
    (folder / "pcrs.json").write_text(json.dumps({"Measurements": pins}))
    with Stack() as stack, PaidStack() as paid, serving(SERVE, stack.relay) as endpoint:
        replaced = {
            RELAY: stack.relay,
            PAID_RELAY: paid.relay,
            VOUCHER: paid.voucher(),
            ENDPOINT: endpoint,
            ".venv/bin/": f"{shlex.quote(str(PROGRAMS))}/",
            "./scripts/demo": f"PYTHONPATH={shlex.quote(str(ROOT))} {DEMO}",
        }
        yield Shell(folder, replaced)


@pytest.mark.parametrize(("language", "text"), BLOCKS, ids=range(1, len(BLOCKS) + 1))
def test_example(shell: Shell, language: str, text: str) -> None:
    if language == "python":
        written = shell.run(sys.executable, "-c", text)
    else:
        lines = [line for line in text.split("\n") if line not in NOT_RUN]
        written = shell.run("bash", "-euc", shell.real("\n".join(lines)))
    if "capital of France" in text:
        assert "Paris" in written
    if "oblivious-client verify" in text:
        assert "every check holds" in written
    if "tokens list" in text:
        assert re.search(r"^c1 +49 +0 +0 +0 ", written, re.MULTILINE)


def test_what_is_not_run_is_there() -> None:
    lines = [line for _, text in BLOCKS for line in text.split("\n")]
    assert set(lines) >= NOT_RUN
    assert os.access(ROOT / TEST, os.X_OK)
    assert all(word in README for word in (RELAY, PAID_RELAY, VOUCHER, ENDPOINT))

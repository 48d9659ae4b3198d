"""What processes that hold keys and prompts do for their safety, seen from inside of them."""

import subprocess
import sys

import pytest

# Prints what holds in a process after `{call}`: dumpable (0), then both limits of a core dump.
PROBE = """
import ctypes, os, resource, sys
{call}
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""
ENGINE = """
from enclave_server.engine import __main__ as engine_main
sys.argv = ["engine", "--socket=x", "--model=/nonexistent", "--sha256=", "--threads=1"]
sys.argv += [f"--parent={os.getppid()}", "--ready=-1"]
assert engine_main.main() != 0
"""
SERVER = """
from enclave_server.hardening import protect_memory
protect_memory()
"""


@pytest.mark.parametrize("call", [SERVER, ENGINE], ids=["server", "engine"])
def test_memory_is_neither_dumped_nor_read_by_others(call: str) -> None:
    command = [sys.executable, "-c", PROBE.format(call=call)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    assert done.stdout.split() == [b"0", b"0", b"0"]

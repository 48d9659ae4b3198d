"""What processes that hold keys and prompts do for their safety, seen from inside of them."""

import errno
import signal
import subprocess
import sys

import pytest

from enclave_server import hardening
from enclave_server.hardening import blocked_signals, give_back_memory

# Prints what holds in a process after `{call}`: dumpable (0), then both limits of a core dump.
PROBE = """
import ctypes, os, resource, sys
{call}
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""
ENGINE = """
from enclave_server.engine import __main__ as engine_main
sys.argv = ["engine", "--socket=x", "--model=/nonexistent", "--sha256=", "--threads=1"]
sys.argv += ["--connections=1", "--memory-mib=512"]
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


# Frees 16 MiB, after which glibc of its own accord takes 8 MiB from its heap; prints how many
# blocks the kernel gave directly for them, which go back to it when they are freed.
BLOCKS = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
class Information(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in "a o s blocks b u f d r k".split()]
libc.mallinfo2.restype = Information
{call}
libc.free(libc.malloc(16 << 20))
before = libc.mallinfo2().blocks
libc.malloc({size})
print(libc.mallinfo2().blocks - before)
"""
GIVEN_BACK = "from enclave_server.hardening import give_back_memory as call; call()"


@pytest.mark.parametrize(
    ("call", "size", "blocks"),
    [
        ("", 8 << 20, 0),
        (GIVEN_BACK, 8 << 20, 1),
        (GIVEN_BACK, (1 << 20) + 4096, 1),
        (GIVEN_BACK, (1 << 20) - 4096, 0),
    ],
)
def test_large_blocks_go_back_to_the_kernel(call: str, size: int, blocks: int) -> None:
    command = [sys.executable, "-c", BLOCKS.format(call=call, size=size)]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    assert int(done.stdout) == blocks


def test_a_libc_without_mallopt_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    give_back_memory()


def test_a_process_whose_parent_is_gone_ends() -> None:
    code = "import os; from enclave_server.hardening import end_with_parent as call\n"
    stays = subprocess.run([sys.executable, "-c", code + "call(os.getppid())"], check=False)
    assert stays.returncode == 0
    ends = subprocess.run([sys.executable, "-c", code + "call(os.getpid())"], check=False)
    assert ends.returncode == -signal.SIGKILL


def test_a_child_is_killed_with_its_parent() -> None:
    # A parent that forks a child which would wait for ever, and ends.
    code = """
import os, signal
from enclave_server.hardening import end_with_parent
parent, (reading, writing) = os.getpid(), os.pipe()
if os.fork() == 0:
    end_with_parent(parent)
    os.write(writing, b"x")
    signal.pause()
os.read(reading, 1)
"""
    # What the child has inherited of this pipe is closed only when it has ended.
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=300, check=True
    )
    assert done.stdout == b""


def test_signals_to_end_are_held_back_and_then_delivered() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    with blocked_signals():
        held = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        assert held == before | {signal.SIGTERM, signal.SIGINT}
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before


def test_what_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match="Invalid argument") as caught:
        hardening._prctl(-1, 0)
    assert caught.value.errno == errno.EINVAL

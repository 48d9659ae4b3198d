"""Processes under measurement: their descendants, CPU time, memory, and their end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from scripts.local import processes
from scripts.local.stack import StackError

READY = """
import json, signal, sys, time
print(json.dumps({"event": "listening", "address": "tcp://127.0.0.1:1"}))
print(json.dumps({"event": "ready", "address": "unix:/a"}), flush=True)
signal.pause()
"""


def program(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_runs_until_the_block_ends() -> None:
    with processes.running("program", program(READY)) as child:
        assert processes.listening(child) == "tcp://127.0.0.1:1"
        assert processes.served_at(child) == "unix:/a"
        pid = child.process.pid
        assert processes.tree(pid) == [pid]
    assert child.process.returncode == -signal.SIGTERM
    assert processes.tree(pid) == [pid]  # of what is gone there are no descendants
    assert processes.memory_kib(os.getpid()) > 1000


def test_a_program_that_does_not_become_ready_is_told_with_its_words() -> None:
    failing = processes.running("program", program("print('no room'); raise SystemExit(3)"))
    with pytest.raises(StackError, match="no room") as caught, failing:
        pass
    assert "The program ended with status 3" in str(caught.value)


def test_descendants_are_counted_too() -> None:
    code = "import os, signal\nif os.fork() == 0: os.fork()\nprint('x', flush=True)\nsignal.pause()"
    with subprocess.Popen(program(code), stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        for _ in range(3):
            parent.stdout.readline()
        tree = processes.tree(parent.pid)
        assert len(tree) == 3
        assert processes.memory_kib(parent.pid) > processes.memory_kib(tree[-1]) > 0
        os.killpg(parent.pid, signal.SIGKILL)


def test_cpu_time_is_that_which_was_used() -> None:
    before, own = processes.cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() < own + 0.05:
        pass
    used = processes.cpu_seconds(os.getpid()) - before
    assert 0.04 < used < time.process_time() - own + 0.5


@pytest.mark.parametrize("ignores", [False, True])
def test_a_process_is_ended(ignores: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN)" if ignores else ""
    code = f"import signal\n{ignoring}\nprint('x', flush=True)\nsignal.pause()"
    with subprocess.Popen(program(code), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monkeypatch.setattr(processes, "STOP_SECONDS", 0.1)
        processes.stop(process)
        assert process.returncode == -(signal.SIGKILL if ignores else signal.SIGTERM)

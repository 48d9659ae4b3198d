"""A worker that its parent tells nonsense, or nothing: it ends, and its log tells a place alone."""

import asyncio
import contextlib
import io
import json
import os
import re
import signal
import socket
import threading
import types
from typing import Any

import pytest

from enclave_server.chat.models import ModelTable
from enclave_server.config import parse_config
from enclave_server.log import Log
from enclave_server.memory import Memory
from enclave_server.processes import worker
from enclave_server.processes.pool import EXIT_FAILED, SERIAL

SECRET = b"words that no log may hold"


def ended(message: bytes) -> tuple[int, list[dict[str, Any]]]:
    """Return the exit status and the log of a worker to which its parent sends this alone."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading, writing = os.pipe()
    with ours, theirs, open(reading, encoding="utf-8") as log:  # noqa: PTH123
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.dup2(writing, 2)
                ours.close()
                inheritance: Any = types.SimpleNamespace(models=ModelTable(()), signing_keys=None)
                with open(2, "w", closefd=False, encoding="utf-8") as stream:
                    worker.sys.stderr = stream  # type: ignore[attr-defined]
                    status = worker.run_worker(inheritance, 3, theirs)
            finally:
                os._exit(status)
        os.close(writing)
        theirs.close()
        if message:
            ours.send(message)
        else:
            ours.close()
        lines = [json.loads(line) for line in log]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), lines


@pytest.mark.parametrize("message", [SECRET, b""])
def test_who_hears_no_snapshot_fails_and_tells_the_place(message: bytes) -> None:
    status, lines = ended(message)
    assert status == EXIT_FAILED == 70
    (line,) = lines
    assert (line["event"], line["worker"]) == ("worker_failed", 3)
    assert re.fullmatch(r"\w+\.py:\d+", line["at"])
    assert SECRET.decode() not in json.dumps(line)


def test_a_failure_that_was_never_raised_has_no_place() -> None:
    assert worker._place(ValueError()) == "nowhere"

    def raising() -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:  # noqa: PT011
        raising()
    line = raising.__code__.co_firstlineno + 1
    assert worker._place(caught.value) == f"test_worker_alone.py:{line}"


def test_signals_of_the_parent_are_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does about them first: the rest is tried on real processes elsewhere."""
    done: list[object] = []
    monkeypatch.setattr("signal.set_wakeup_fd", done.append)
    monkeypatch.setattr("signal.signal", lambda *rule: done.append(rule))

    def stop(_: object) -> None:
        raise InterruptedError

    monkeypatch.setattr(worker.readers, "start", stop)  # type: ignore[attr-defined]
    inheritance: Any = types.SimpleNamespace(models=None, signing_keys=None)
    with socket.socket() as channel, pytest.raises(InterruptedError):
        worker.run_worker(inheritance, 0, channel)
    assert done == [-1, (signal.SIGCHLD, signal.SIG_DFL), (signal.SIGINT, signal.SIG_IGN)]


def test_a_parent_that_is_slow_to_listen_holds_nobody_up() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    state: Any = types.SimpleNamespace(serial=7)
    keys: Any = None

    async def main() -> None:
        worker._listen_to_parent(state, keys, ours)
        assert not ours.getblocking()
        assert asyncio.get_running_loop().remove_reader(ours)  # which had been there
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(8), socket.MSG_DONTWAIT)
        worker._beat(ours, state)  # which waits for nobody, and is not the last

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with ours, theirs:
        asyncio.run(main())
        assert theirs.recv(100) == bytes(8)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_large_answers_are_sealed_in_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(worker, "Gateway", lambda *_, **settings: given.update(settings))
    monkeypatch.setattr(worker, "make_router", lambda *_, **__: None)
    inheritance: Any = types.SimpleNamespace(config=parse_config(""), replays=None)
    state: Any = types.SimpleNamespace(keyset=None, opening_keys=None)
    dispatch: Any = None
    worker._make_router(inheritance, state, dispatch, Log(io.StringIO()), Memory())

    async def sealed() -> int:
        ident: int = await given["aside"](threading.get_ident)
        return ident

    assert asyncio.run(sealed()) != threading.get_ident()


def test_a_worker_beats_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.001)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    state: Any = types.SimpleNamespace(serial=7)

    async def main() -> list[bytes]:
        loop = asyncio.get_running_loop()
        theirs.setblocking(False)
        worker._beat(ours, state)
        return [await loop.sock_recv(theirs, 100) for _ in range(3)]

    with ours, theirs:
        assert asyncio.run(main()) == [SERIAL.pack(7)] * 3


def test_a_worker_without_readers_says_so_and_ends_in_order() -> None:
    said, ending = io.StringIO(), asyncio.Event()
    worker._end_without_readers(ending, Log(said))
    assert json.loads(said.getvalue())["event"] == "readers_ended"
    assert ending.is_set()


def test_a_fault_in_a_request_is_told_by_its_place_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []

    class Noting:
        def __init__(self, *_: object, **given: Any) -> None:
            made.append(given)

    monkeypatch.setattr(worker, "Gateway", Noting)
    monkeypatch.setattr(worker, "make_router", lambda *_, **__: None)
    said = io.StringIO()
    for bare in (False, True):
        config = parse_config(f"[chat]\nbare_json = {str(bare).lower()}\n")
        inheritance: Any = types.SimpleNamespace(config=config, replays=None)
        state: Any = types.SimpleNamespace(keyset=None, opening_keys=None, standing=None)
        unneeded: Any = None
        worker._make_router(inheritance, state, unneeded, Log(said), Memory())
    assert [given["admit_bare"] is not None for given in made] == [False, True]
    try:
        raise ValueError(SECRET)
    except ValueError as failure:
        made[0]["report"](failure)
    (line,) = map(json.loads, said.getvalue().splitlines())
    assert (line["event"], line["kind"]) == ("request_failed", "ValueError")
    assert re.fullmatch(r"test_worker_alone\.py:\d+", line["at"])
    assert SECRET.decode() not in said.getvalue()

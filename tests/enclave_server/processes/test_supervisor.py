"""Tests of real server processes: start, workers that die, and the end."""

import asyncio
import contextlib
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from enclave_server.keys.keeper import KeyKeeper
from enclave_server.log import Log
from enclave_server.processes.pool import Pool
from enclave_server.processes.readiness import Readiness
from enclave_server.processes.stop_signals import StopSignals
from enclave_server.processes.supervisor import MAX_FAILURES, Supervisor, WorkersFail
from tests.support.enclave import (
    DEADLINE,
    Enclave,
    chat_request,
    models_request,
    private_directory,
    running_enclave,
    running_upstream,
    stand_in_config,
)
from tests.support.upstream import Behaviour, Exchange, answering, silent


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):  # the latter ends while it is read
        return False
    return state != "Z"


def wait_until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + DEADLINE
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def slowly(seconds: float) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        await asyncio.sleep(seconds)
        await answering()(exchange)

    return behave


class Asker(threading.Thread):
    """Asks for the models, each time on a new connection, until it is told to stop."""

    def __init__(self, enclave: Enclave) -> None:
        super().__init__()
        self._enclave = enclave
        self._config = enclave.key_configs()[0]
        self._ended = threading.Event()
        self.good = 0
        self.cut = 0
        self.other: list[object] = []

    def run(self) -> None:
        while not self._ended.is_set():
            try:
                status = self._enclave.ask(models_request(), self._config).status
            except (OSError, http.client.HTTPException):
                self.cut += 1  # it was with the worker that died
            except AssertionError as error:
                self.other.append(error)
            else:
                self.good += status == 200

    def stop(self) -> None:
        self._ended.set()
        self.join(DEADLINE)


def test_one_worker_serves_and_ends() -> None:
    with running_enclave() as enclave:
        ready = enclave.wait_for("ready")
        assert ready["address"] == f"unix:{enclave.path}"
        assert ready["platform"] == "simulated"
        assert enclave.ask(models_request()).status == 200
        pids = enclave.worker_pids
        assert len(pids) == 1
        assert enclave.stop() == 0
        assert not Path(enclave.path).exists()
        wait_until_gone(pids)


def test_the_log_names_the_port_that_the_system_chose() -> None:
    with running_enclave(arguments=["--listen", "tcp://127.0.0.1:0"]) as enclave:
        host, port = enclave.wait_for("ready")["address"].removeprefix("tcp://").split(":")
        with socket.create_connection((host, int(port)), DEADLINE) as connection:
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: gateway\r\n\r\n")
            assert connection.recv(64).startswith(b"HTTP/1.1 200 ")


def test_an_interrupt_ends_it_as_well() -> None:
    with running_enclave() as enclave:
        assert enclave.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_that_asks_for_nothing_ends_nothing(number: signal.Signals) -> None:
    """Whichever process it is sent to: the parent, a worker, the engine."""
    with running_enclave(config="", workers=2) as enclave:
        parent = enclave.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        assert len(children) == 3
        for pid in (parent, *map(int, children)):
            os.kill(pid, number)
        assert enclave.ask(models_request()).status == 200
        assert enclave.stop() == 0
    assert [line["exit"] for line in enclave.events("worker_ended")] == [0, 0]
    assert [line["starts"] for line in enclave.events("engine")] == [1, 1]  # starting, ready


def test_the_log_is_json_and_says_that_evidence_is_simulated() -> None:
    with running_enclave() as enclave:
        enclave.ask(models_request())
        enclave.stop()
        enclave.wait_for("stopped")
    lines = [json.loads(line) for line in enclave.text.splitlines()]
    assert all({"time", "event"} <= line.keys() for line in lines)
    assert enclave.events("simulated_evidence")


def test_a_log_that_nobody_reads_any_more_ends_nothing() -> None:
    with private_directory() as directory:
        config = directory / "config.toml"
        config.write_text(stand_in_config("unix:/nonexistent"))
        path = directory / "s"
        command = [sys.executable, "-m", "enclave_server", "--listen", f"unix:{path}"]
        with subprocess.Popen(
            [*command, "--config", str(config)], stderr=subprocess.PIPE
        ) as process:
            assert process.stderr is not None
            assert any(b'"ready"' in line for line in process.stderr)
            process.stderr.close()
            enclave = Enclave(str(path), process)
            assert enclave.ask(models_request()).status == 200
            assert enclave.stop() == 0


def test_all_workers_have_the_same_keys() -> None:
    with running_enclave(workers=3) as enclave:
        first = enclave.request("GET", "/.well-known/ohttp-gateway").body
        for _ in range(30):
            assert enclave.request("GET", "/.well-known/ohttp-gateway").body == first
            assert enclave.ask(models_request()).status == 200
        assert len(enclave.worker_pids) == 3


def test_a_worker_that_is_killed_is_replaced_while_clients_go_on() -> None:
    with running_enclave(workers=2) as enclave:
        asker = Asker(enclave)
        asker.start()
        for killed in range(1, 4):
            os.kill(enclave.worker_pids[0], signal.SIGKILL)
            enclave.wait_for("worker_ended", killed)
            enclave.wait_for("worker_started", 2 + killed)
        before = asker.good
        deadline = time.monotonic() + DEADLINE
        while asker.good < before + 20 and time.monotonic() < deadline:
            time.sleep(0.01)
        asker.stop()
        assert asker.good >= before + 20
        assert asker.cut <= 6
        assert asker.other == []
        assert enclave.stop() == 0


def test_a_worker_that_stands_still_is_replaced() -> None:
    """Long before there are new keys to acknowledge."""
    with running_enclave() as enclave:
        (hanging,) = enclave.worker_pids
        os.kill(hanging, signal.SIGSTOP)
        assert enclave.wait_for("worker_silent")["pid"] == hanging
        wait_until_gone([hanging])
        assert enclave.ask(models_request()).status == 200
        assert enclave.worker_pids != [hanging]


def test_workers_end_when_their_parent_is_killed() -> None:
    with running_enclave(workers=2) as enclave:
        pids = enclave.worker_pids
        enclave.process.kill()
        wait_until_gone(pids)


def test_a_request_in_progress_is_finished() -> None:
    with (
        running_upstream(slowly(1.0)) as upstream,
        running_enclave(stand_in_config(upstream.address)) as enclave,
    ):
        statuses: list[int] = []
        asker = threading.Thread(target=lambda: statuses.append(enclave.ask(chat_request()).status))
        asker.start()
        deadline = time.monotonic() + DEADLINE
        while not upstream.connections and time.monotonic() < deadline:
            time.sleep(0.01)
        assert enclave.stop() == 0
        asker.join(DEADLINE)
        assert statuses == [200]


@pytest.mark.parametrize("grace", [0.3, 600])
def test_what_does_not_end_is_ended(grace: float) -> None:
    """After the grace time, or, where that is long, by a second signal."""
    with running_upstream(silent) as upstream:
        config = stand_in_config(upstream.address) + f"[server]\ngrace_seconds = {grace}\n"
        with running_enclave(config) as enclave:
            asker = threading.Thread(target=lambda: _ask_in_vain(enclave))
            asker.start()
            deadline = time.monotonic() + DEADLINE
            while not upstream.connections and time.monotonic() < deadline:
                time.sleep(0.01)
            enclave.process.terminate()
            if grace > DEADLINE:
                enclave.wait_for("stopping")
                with pytest.raises(subprocess.TimeoutExpired):
                    enclave.process.wait(0.2)
                enclave.process.terminate()
            assert enclave.process.wait(DEADLINE) == 0
            asker.join(DEADLINE)


def _ask_in_vain(enclave: Enclave) -> None:
    try:
        answer = enclave.ask(chat_request())
    except (OSError, http.client.HTTPException, AssertionError):
        return
    assert answer.status != 200


def test_no_core_is_dumped_and_nobody_may_trace() -> None:
    with running_enclave() as enclave:
        for pid in (enclave.process.pid, *enclave.worker_pids):
            limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
            core = next(line.split() for line in limits if line.startswith("Max core file size"))
            assert core[4:6] == ["0", "0"]


def test_two_servers_do_not_share_an_address() -> None:
    with running_enclave() as enclave:
        with running_enclave(
            arguments=["--listen", f"unix:{enclave.path}"],
            ready=lambda other: other.process.wait(DEADLINE),
        ) as other:
            assert other.process.returncode == 3
        assert b"choose another with --listen" in other.text
        assert enclave.ask(models_request()).status == 200


class DyingWorkers:
    """A pool of one worker that ends before it serves, so many times."""

    def __init__(self, times: int) -> None:
        self._times = times
        self.workers: list[Any] = []
        self.failures = 0
        self.settled = False

    def tend(self, now: float) -> None:
        self.failures += 1
        if self.failures > self._times:
            self.failures, self.settled = 0, True

    def take_proposals(self) -> list[bytes]:
        return []

    def signal(self, number: int) -> None:
        return None

    def watch(self, now: float) -> None:
        return None


def comes_up(times: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether a server is ready after so many workers in a row that never served."""
    for method in ("_publish", "_keep_keys", "_check_clock"):
        monkeypatch.setattr(Supervisor, method, lambda *_: None)
    came: list[bool] = []
    with StopSignals() as signals:

        def ready() -> None:
            came.append(True)
            signals.count = 1

        log, keeper = Log(io.StringIO()), cast(KeyKeeper, None)
        supervisor = Supervisor(
            signals, keeper, None, log, Readiness(), wants_secrets=False, grace_seconds=0
        )
        with contextlib.suppress(WorkersFail):
            supervisor.serve(cast(Pool, DyingWorkers(times)), ready, lambda: None)
    return bool(came)


def test_five_workers_in_a_row_that_never_serve_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert comes_up(4, monkeypatch)
    assert not comes_up(5, monkeypatch)
    assert MAX_FAILURES == 5

"""Readiness: one octet that processes share, and what it follows in a real server."""

import os
import signal
import time
from pathlib import Path

from enclave_server.processes.readiness import Readiness
from tests.enclave_server.provision.test_desk import provision
from tests.support.enclave import DEADLINE, Enclave, running_enclave
from tests.support.provisioning import waiting_config


def status(enclave: Enclave) -> int:
    return enclave.request("GET", "/ready").status


def wait_until(enclave: Enclave, expected: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while status(enclave) != expected:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_forked_process_sees_what_its_parent_tells() -> None:
    readiness = Readiness()
    assert not readiness
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)
        os._exit(42 if readiness else 1)
    readiness.tell(True)
    os.write(writing, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
    os.close(reading)
    os.close(writing)
    readiness.tell(False)
    assert not readiness


def test_a_server_without_an_engine_and_secrets_is_ready() -> None:
    with running_enclave() as enclave:
        assert status(enclave) == 200


def test_who_waits_for_secrets_is_ready_once_they_have_come() -> None:
    with running_enclave(waiting_config("unix:/nonexistent"), workers=2) as enclave:
        assert status(enclave) == 503
        assert enclave.request("GET", "/health").status == 200
        assert provision(enclave).status == 204
        assert {status(enclave) for _ in range(20)} == {200}


def test_who_has_an_engine_is_ready_while_it_answers() -> None:
    with running_enclave(config="") as enclave:
        assert status(enclave) == 200
        workers = set(enclave.worker_pids)
        parent = enclave.process.pid
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        (engine,) = set(map(int, children)) - workers
        os.kill(engine, signal.SIGKILL)
        wait_until(enclave, 503)
        wait_until(enclave, 200)

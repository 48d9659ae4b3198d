"""The enclave's unit under a systemd that runs, with stand-ins for nitro-cli and the enclave."""

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import systemd
from tests.support.enclave_host import DEPLOY, EnclaveHost, hosts
from tests.support.enclave_image import write_image
from tests.support.host_proxy_process import DEADLINE, until
from tests.support.systemd import Manager

pytestmark = pytest.mark.skipif(systemd.why_not() != "", reason=systemd.why_not())

UNIT = "oblivious-enclave.service"
CARRIER, SOCKET = "oblivious-host-proxy.service", "oblivious-host-proxy.socket"
CLIENTS = 20
# What only the system's manager can do; test_units has systemd-analyze look at it.
SANDBOX = re.compile(
    r"^(# It (?:speaks|may use|opens).*?)(?=^\[Install\]|\Z)", re.MULTILINE | re.DOTALL
)


def unit_text(name: str, host: EnclaveHost) -> str:
    """Return a unit with the places of `host`, for a user's manager."""
    text = SANDBOX.sub("", (DEPLOY / name).read_text())
    for theirs, ours in (
        ("/opt/oblivious-inference/bin/", f"{host.bin}/"),
        ("/usr/bin/nitro-cli", f"{host.bin}/nitro-cli"),
        ("/etc/oblivious-inference/alarm", f"{host.bin}/alarm"),
        ("systemctl start", "systemctl --user start"),
        ("ListenStream=127.0.0.1:%i8443", f"ListenStream={host.state}/ingress.sock"),
        ("NoDelay=yes\n", ""),
        ("RestartSec=1\n", "RestartSec=0.1\n"),
    ):
        text = text.replace(theirs, ours)
    own = "".join(f'Environment="{key}={value}"\n' for key, value in host.environment().items())
    return text.replace("EnvironmentFile=", f"{own}EnvironmentFile=")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[EnclaveHost]:
    for host in hosts(tmp_path):
        host.program("sleep", "#!/bin/sh\nexec /bin/sleep 0.1\n")  # the pause before a start
        host.program("alarm", f'#!/bin/sh\necho "$1" >>{host.state}/alarms\n')
        yield host


@pytest.fixture
def manager(host: EnclaveHost, tmp_path: Path) -> Iterator[Manager]:
    units = tmp_path / "units"
    units.mkdir()
    for name in (UNIT, "oblivious-alarm@.service", CARRIER, SOCKET):
        (units / name).write_text(unit_text(name, host))
    (units / "oblivious-enclave@.service").write_text((units / UNIT).read_text())
    (units / "nitro-enclaves-allocator.service").write_text(
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
    )
    with systemd.manager(units) as manager:
        yield manager


def alarms(host: EnclaveHost) -> list[str]:
    path = host.state / "alarms"
    return path.read_text().splitlines() if path.exists() else []


def restarted(manager: Manager, times: int) -> bool:
    """Whether systemd has started the enclave anew, and it answers."""
    state = manager.show(UNIT, "ActiveState")
    return int(manager.show(UNIT, "NRestarts")) >= times and state == "active"


def test_a_start_is_over_when_the_enclave_answers(manager: Manager, host: EnclaveHost) -> None:
    manager.systemctl("start", UNIT)
    assert (host.state / "answered").exists()
    assert manager.show(UNIT, "ActiveState") == "active"
    manager.systemctl("stop", UNIT)
    assert manager.show(UNIT, "Result") == "success"
    assert host.asked()[-1] == "terminate-enclave"
    assert alarms(host) == []


def test_an_enclave_that_ended_is_started_again_and_told(
    manager: Manager, host: EnclaveHost
) -> None:
    manager.systemctl("start", UNIT)
    host.end_enclave()
    until(lambda: restarted(manager, 1))
    until(lambda: alarms(host) == [UNIT])


def test_an_enclave_whose_vsock_hangs_is_ended_and_started_again(
    manager: Manager, host: EnclaveHost
) -> None:
    manager.systemctl("start", UNIT)
    before = host.enclave()
    assert before is not None
    host.misbehave("mute")
    host.await_enclave(other_than=before["ProcessID"])
    (host.state / "mute").unlink()
    until(lambda: restarted(manager, 1))
    assert host.asked().count("run-enclave") >= 2


def test_an_image_that_awss_reader_refuses_is_told_and_not_tried_again(
    manager: Manager, host: EnclaveHost
) -> None:
    write_image(host.image, without={"CustomMetadata"})
    manager.systemctl("start", UNIT, code=1)
    until(lambda: alarms(host) == [UNIT])
    shown = [manager.show(UNIT, name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert shown == ["failed", "65", "0"]
    assert host.asked() == ["describe-eif"]
    write_image(host.image)
    manager.systemctl("start", UNIT)


def test_a_reader_that_fails_once_the_enclave_runs_is_told_and_tried_again(
    manager: Manager, host: EnclaveHost
) -> None:
    write_image(host.image, without={"CustomMetadata"})
    host.misbehave("lenient")
    manager.systemctl("start", UNIT)
    host.misbehave("mute")
    until(lambda: manager.show(UNIT, "ExecMainStatus") == "69")
    until(lambda: alarms(host)[:1] == [UNIT])
    write_image(host.image)
    (host.state / "mute").unlink()
    until(lambda: restarted(manager, 1))


def test_a_further_enclave_has_a_unit_of_its_own(manager: Manager, host: EnclaveHost) -> None:
    manager.systemctl("start", "oblivious-enclave@2.service")
    enclave = host.enclave()
    assert enclave is not None
    assert enclave["EnclaveName"] == "oblivious-inference2"
    assert manager.show(UNIT, "ActiveState") == "inactive"


def ask(host: EnclaveHost) -> bytes:
    """Ask through the carrier's socket; return the first line of the answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(str(host.state / "ingress.sock"))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n")
        return client.recv(1 << 16).partition(b"\r\n")[0]


def test_clients_wait_while_the_enclave_is_restarted_as_planned(
    manager: Manager, host: EnclaveHost
) -> None:
    host.program("systemctl", f'#!/bin/sh\nexec {shutil.which("systemctl")} --user "$@"\n')
    manager.systemctl("start", SOCKET, UNIT)
    before = host.enclave()
    assert before is not None
    assert ask(host) == b"HTTP/1.1 200 OK"
    host.misbehave("slow")
    environment = {**manager.environment, **host.environment()}
    with (
        subprocess.Popen([DEPLOY / "restart-enclave"], env=environment) as restart,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        until(lambda: manager.show(CARRIER, "StatusText").startswith("Held"))
        answers = [clients.submit(ask, host) for _ in range(CLIENTS)]
        assert {answer.result() for answer in answers} == {b"HTTP/1.1 200 OK"}
        assert restart.wait(DEADLINE) == 0
    after = host.enclave()
    assert after is not None
    assert after["ProcessID"] != before["ProcessID"]


def documented_restart() -> list[str]:
    """Return the commands of a planned restart one by one, as docs/operations.md has them."""
    text = (DEPLOY.parents[1] / "docs/operations.md").read_text()
    section = text.partition("### A planned restart")[2]
    block = section.split("```sh\n")[2].partition("```")[0]
    return [line.removeprefix("sudo ") for line in block.splitlines()]


def test_the_documented_commands_hold_clients_too(manager: Manager, host: EnclaveHost) -> None:
    hold, show, restart, go_on = (command.split()[1:] for command in documented_restart())
    manager.systemctl("start", SOCKET, UNIT)
    assert ask(host) == b"HTTP/1.1 200 OK"
    manager.systemctl(*hold)
    until(lambda: manager.systemctl(*show) == "Held: drained")
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(ask, host)
        manager.systemctl(*restart)
        assert not answer.done()
        manager.systemctl(*go_on)
        assert answer.result() == b"HTTP/1.1 200 OK"


def test_clients_wait_while_an_enclave_that_ended_is_started_again(
    manager: Manager, host: EnclaveHost
) -> None:
    manager.systemctl("start", SOCKET, UNIT)
    assert ask(host) == b"HTTP/1.1 200 OK"
    host.misbehave("slow")
    host.end_enclave()
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [clients.submit(ask, host) for _ in range(CLIENTS)]
        assert {answer.result() for answer in answers} == {b"HTTP/1.1 200 OK"}

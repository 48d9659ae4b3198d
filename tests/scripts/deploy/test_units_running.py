"""The enclave's unit under a systemd that runs, with stand-ins for nitro-cli and the enclave."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import systemd
from tests.support.enclave_host import DEPLOY, EnclaveHost, hosts
from tests.support.enclave_image import write_image
from tests.support.host_proxy_process import until
from tests.support.systemd import Manager

pytestmark = pytest.mark.skipif(systemd.why_not() != "", reason=systemd.why_not())

UNIT = "oblivious-enclave.service"
# What only the system's manager can do; test_units has systemd-analyze look at it.
SANDBOX = re.compile(r"^(# It (?:speaks|may use).*?)(?=^\[Install\]|\Z)", re.MULTILINE | re.DOTALL)


def unit_text(name: str, host: EnclaveHost) -> str:
    """Return a unit with the places of `host`, for a user's manager."""
    text = SANDBOX.sub("", (DEPLOY / name).read_text())
    for theirs, ours in (
        ("/opt/oblivious-inference/bin/", f"{host.bin}/"),
        ("/usr/bin/nitro-cli", f"{host.bin}/nitro-cli"),
        ("/etc/oblivious-inference/alarm", f"{host.bin}/alarm"),
        ("systemctl start", "systemctl --user start"),
    ):
        text = text.replace(theirs, ours)
    own = "".join(f'Environment="{key}={value}"\n' for key, value in host.environment().items())
    return text.replace("EnvironmentFile=", f"{own}EnvironmentFile=")


@pytest.fixture
def host(tmp_path: Path) -> Iterator[EnclaveHost]:
    for host in hosts(tmp_path):
        host.program("alarm", f'#!/bin/sh\necho "$1" >>{host.state}/alarms\n')
        yield host


@pytest.fixture
def manager(host: EnclaveHost, tmp_path: Path) -> Iterator[Manager]:
    units = tmp_path / "units"
    units.mkdir()
    for name in (UNIT, "oblivious-alarm@.service"):
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

"""run-enclave: what ends an enclave is told apart, by sentence and by exit code."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.enclave_host import EnclaveHost, hosts
from tests.support.enclave_image import write_image
from tests.support.host_proxy_process import DEADLINE, until

STARTED = ["describe-eif", "terminate-enclave", "run-enclave"]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[EnclaveHost]:
    yield from hosts(tmp_path)


class Running:
    """run-enclave in a process of its own."""

    def __init__(self, host: EnclaveHost) -> None:
        self._log = host.state / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [host.bin / "run-enclave"],
                env={**os.environ, **host.settings(), **host.environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ended(self) -> tuple[int, str]:
        """Return the exit code and the last line that it wrote."""
        code = self._process.wait(DEADLINE)
        return code, self._log.read_text().splitlines()[-1]

    def stop(self) -> int:
        """Tell it to end, as systemd does, and return the exit code."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE)


def await_answer(host: EnclaveHost) -> None:
    """Wait until the enclave has been asked and has answered."""
    until((host.state / "answered").exists)


@pytest.mark.parametrize("member", ["CustomMetadata", "BuildMetadata"])
def test_an_image_that_awss_reader_refuses_is_not_booted(host: EnclaveHost, member: str) -> None:
    write_image(host.image, without={member})
    code, said = Running(host).ended()
    assert code == 65
    assert said == f"run-enclave: AWS's reader refuses the image {host.image}"
    assert host.asked() == ["describe-eif"]


def test_nor_is_one_with_a_wrong_checksum(host: EnclaveHost) -> None:
    host.image.write_bytes(host.image.read_bytes()[:-1] + b"?")
    code, said = Running(host).ended()
    assert (code, host.asked()) == (65, ["describe-eif"])
    assert "checksum" in said


def test_an_enclave_is_kept_until_a_stop(host: EnclaveHost) -> None:
    (host.run / "failures").write_text("0\n")
    running = Running(host)
    await_answer(host)
    assert running.stop() == 0
    assert host.asked() == [*STARTED, "terminate-enclave"]
    assert not (host.run / "failures").exists()


def test_an_enclave_that_ended_is_told(host: EnclaveHost) -> None:
    running = Running(host)
    await_answer(host)
    host.end_enclave()
    assert running.ended() == (1, "run-enclave: the enclave has ended")
    assert (host.run / "failures").read_text() == "1\n"


@pytest.mark.parametrize("order", [1, -1])
def test_another_enclave_that_runs_is_not_taken_for_it(host: EnclaveHost, order: int) -> None:
    name = host.settings()["ENCLAVE_NAME"]
    others = [
        {"EnclaveName": named, "EnclaveID": "i-0-enc0", "State": state, "Measurements": {}}
        for named, state in ((f"{name}-2", "RUNNING"), (name, "TERMINATING"), ("x", "RUNNING"))
    ]
    (host.state / "others").write_text(json.dumps(others[::order]))
    running = Running(host)
    await_answer(host)
    host.end_enclave()
    assert running.ended() == (1, "run-enclave: the enclave has ended")


def test_an_enclave_that_hangs_is_told(host: EnclaveHost) -> None:
    running = Running(host)
    await_answer(host)
    host.misbehave("mute")
    code, said = running.ended()
    assert (code, host.asked()) == (3, [*STARTED, "describe-enclaves", "terminate-enclave"])
    assert said.startswith("run-enclave: the enclave runs but does not answer over vsock")


def test_a_reader_that_fails_when_it_describes_the_enclave_is_told(host: EnclaveHost) -> None:
    """It took the file, then AWS's process for the enclave cannot read it, and ends with it."""
    write_image(host.image, without={"CustomMetadata"})
    host.misbehave("lenient")
    running = Running(host)
    await_answer(host)
    host.misbehave("mute")
    code, said = running.ended()
    assert code == 69
    assert said == (
        "run-enclave: the enclave does not answer, and nitro-cli cannot describe it (39)"
    )
    assert host.enclave() is None


def test_an_enclave_that_does_not_boot_is_told(host: EnclaveHost) -> None:
    host.misbehave("boots-not")
    code, said = Running(host).ended()
    assert code == 1
    assert said == "run-enclave: the enclave could not be started (nitro-cli run-enclave: 39)"


def test_a_reader_that_cannot_be_asked_is_no_refusal(host: EnclaveHost) -> None:
    (host.bin / "nitro-cli").unlink()
    host.program("nitro-cli", "#!/bin/sh\nexit 57\n")
    code, said = Running(host).ended()
    assert code == 69
    assert said.endswith("(57)")


@pytest.mark.parametrize(
    ("before", "pause", "after"),
    [("", 0, 1), ("1", 2, 2), ("3", 8, 4), ("5", 32, 6), ("6", 60, 7), ("90", 60, 91), ("x", 0, 1)],
)
def test_each_failure_makes_the_next_start_wait_longer(
    host: EnclaveHost, before: str, pause: int, after: int
) -> None:
    host.program("sleep", '#!/bin/sh\necho "$1" >"$STATE/slept"\n')
    (host.run / "failures").write_text(before)
    host.misbehave("boots-not")
    assert Running(host).ended()[0] == 1
    assert (host.state / "slept").read_text() == f"{pause}\n"
    assert (host.run / "failures").read_text() == f"{after}\n"


def test_an_enclave_that_has_lived_for_long_starts_the_count_anew(host: EnclaveHost) -> None:
    text = (host.bin / "run-enclave").read_text()
    assert "settled=600 " in text
    host.program("run-enclave", text.replace("settled=600 ", "settled=0 "))
    host.program("sleep", "#!/bin/sh\n")
    (host.run / "failures").write_text("5")
    host.misbehave("boots-not")
    Running(host).ended()
    assert (host.run / "failures").read_text() == "1\n"

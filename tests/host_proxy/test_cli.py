"""The command `host-proxy`."""

import resource
import subprocess
import sys
from pathlib import Path

from tests.support.host_proxy_process import (
    DEADLINE,
    ingress,
    running,
)


def test_the_command_explains_itself() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "host_proxy", "--help"],
        capture_output=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.decode()
    for word in ("vsock-uds:PATH:PORT", "--egress", "SIGUSR1", "exit:", "TOML"):
        assert word in shown


def test_descriptors_are_enough_for_the_cap(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(*ingress(tmp_path, "--connections", "100")) as proxy:
        proxy.ports()
        soft = int(
            Path(f"/proc/{proxy.pid}/limits").read_text().split("Max open files")[1].split()[0]
        )
        assert soft >= min(hard, 2 * 100)

"""A systemd of our own runs the unit that `serve install` wrote, until `serve stop`."""

import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from oblivious_client.exits import Exit
from tests.support.gateway import StandInGateway
from tests.support.host_proxy_process import DEADLINE, until
from tests.support.systemd import manager, why_not

UNIT = "oblivious-client.service"
ROOT = Path(__file__).parents[3]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v1/models").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.skipif(bool(why_not()), reason=why_not() or "a manager can be started")
def test_systemd_runs_it_until_it_is_told_to_stop(tmp_path: Path) -> None:
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    with StandInGateway() as gateway, manager(units) as systemd:
        folders = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CACHE_HOME": str(tmp_path)}
        environment = {**systemd.environment, **folders, "PYTHONPATH": str(ROOT)}

        def serve(*words: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "oblivious_client", "serve", *words],
                env=environment,
                capture_output=True,
                text=True,
                timeout=DEADLINE,
                check=False,
            )

        place = f"127.0.0.1:{free_port()}"
        chosen = ["--relay", gateway.url, "--allow-simulated", "--no-cache", "--listen", place]
        installed = serve("install", *chosen)
        assert installed.returncode == Exit.OK, installed.stderr
        until(lambda: answers(f"http://{place}"))
        assert systemd.show(UNIT, "ActiveState") == "active"
        assert serve("status").stdout.startswith(f"http://{place}  process ")
        assert serve("stop").returncode == Exit.OK
        until(lambda: systemd.show(UNIT, "ActiveState") == "inactive")
        assert systemd.show(UNIT, "Result") == "success"
        assert (units / UNIT).is_file()

"""nginx as a relay of the soak: the deployed configuration, at an address of this machine."""

import subprocess
from pathlib import Path

import pytest

from scripts.local.stack import StackError
from scripts.soaking import nginx_relay
from tests.support.stack import needs_nginx


@needs_nginx
def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    address = nginx_relay.free_address()
    command = nginx_relay.command(tmp_path / "nginx", address, "http://127.0.0.1:9")
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    deployed = (nginx_relay.DEPLOY / "relay-nginx.conf").read_text()
    assert deployed.count(nginx_relay.OWN_PORT) == 2
    assert nginx_relay.OWN_PORT not in (tmp_path / "nginx" / "relay-nginx.conf").read_text()
    assert not nginx_relay.answers(address)


def test_without_nginx_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(StackError, match="nginx is not installed"):
        nginx_relay.command(tmp_path, "127.0.0.1:1", "http://127.0.0.1:2")

"""The issuer's unit and its example of a configuration."""

import re
import socket
from pathlib import Path

import pytest

from tests.scripts.deploy.test_units import WORST_EXPOSURE, analyze, with_systemd
from tests.support.issuer_process import DEADLINE, IssuerFiles, IssuerProcess
from token_issuer.serving import GRACE_SECONDS
from token_issuer.settings import Settings, read_settings

DEPLOY = Path(__file__).parents[3] / "scripts" / "deploy"
UNIT = DEPLOY / "token-issuer.service"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The unit with a program that exists on this machine."""
    text = UNIT.read_text().replace("/opt/oblivious-inference/bin/token-issuer", "/bin/true")
    path = tmp_path / UNIT.name
    path.write_text(text)
    path.chmod(0o644)
    return tmp_path


@with_systemd
def test_systemd_finds_no_fault(units: Path) -> None:
    result = analyze(units, "verify", str(units / UNIT.name))
    assert result.returncode == 0, result.stderr
    assert UNIT.name not in result.stderr


@with_systemd
def test_the_service_exposes_little(units: Path) -> None:
    result = analyze(units, "security", "--offline=true", str(units / UNIT.name))
    exposure = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) < WORST_EXPOSURE


def test_a_stop_lets_requests_end() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)
    assert int(seconds) > GRACE_SECONDS


def test_the_example_is_taken_and_so_is_what_it_leaves_out(tmp_path: Path) -> None:
    example = DEPLOY / "issuer.toml"
    settings = read_settings(example)
    assert settings.keys.is_relative_to("/var/lib/token-issuer")
    assert settings.database.startswith("sqlite:////var/lib/token-issuer/")
    whole = re.sub(r"^# (?=\[|\w+ = )", "", example.read_text(), flags=re.MULTILINE)
    lines = [line for line in whole.splitlines() if not line.startswith('database = "sqlite')]
    path = tmp_path / "issuer.toml"
    path.write_text("\n".join(lines))
    taken = read_settings(path)
    assert taken.stripe is not None
    assert taken.x402 is not None
    top = example.read_text().partition("[stripe]")[0]
    named = set(re.findall(r"^(?:# )?(\w+) = ", top, re.MULTILINE))
    assert named == {*Settings.__struct_fields__} - {"stripe", "x402"}


def test_systemd_is_told_when_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = IssuerFiles(tmp_path, f"sqlite:///{tmp_path}/l", workers=1)
    files.write()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(DEADLINE)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        process = IssuerProcess(files)
        try:
            assert b"READY=1" in notified.recv(4096)
        finally:
            process.end()

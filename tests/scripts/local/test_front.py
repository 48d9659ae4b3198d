"""HAProxy before several enclaves on one machine, by what is deployed."""

import subprocess
from pathlib import Path

import pytest

from scripts.local import front
from scripts.local.stack import Stack, StackError
from tests.support.haproxy import needs_haproxy


@needs_haproxy
@pytest.mark.parametrize("count", [1, 2, 4])
def test_haproxy_takes_what_is_made_of_the_deployed_configuration(
    tmp_path: Path, count: int
) -> None:
    members = [f"127.0.0.1:{9000 + number}" for number in range(count)]
    path = front.prepare(tmp_path, f"127.0.0.1:{front.free_port()}", members)
    text = path.read_text()
    assert text.count("    server enclave") == count
    assert all(f" {member} weight " in text for member in members)
    assert "/etc/haproxy" not in text
    subprocess.run([str(front.program()), "-c", "-f", path], check=True, timeout=60)


def test_a_configuration_that_has_changed_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = tmp_path / "changed.cfg"
    changed.write_text(front.DEPLOYED.read_text().replace("bind :443", "bind :444"))
    monkeypatch.setattr(front, "DEPLOYED", changed)
    with pytest.raises(ValueError, match="bind :443"):
        front.configuration(tmp_path, "127.0.0.1:1", [])


def test_without_haproxy_several_enclaves_end_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(front, "program", lambda: None)
    with pytest.raises(StackError, match="HAProxy"), Stack(enclaves=2):
        pass

"""HAProxy before several enclaves on one machine, by what is deployed."""

import socket
import subprocess
import threading
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


def test_what_haproxy_is_asked_and_whose_slots_are_whose(tmp_path: Path) -> None:
    said = (
        b"0x1 0A enclave4\n0x2 0B00 enclave1\n0x3 0BFF enclave2\n0x4 0C00 enclave3\n0x5 told all\n"
    )
    heard: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(front.runtime_socket(tmp_path)))
        listener.listen()

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                heard.append(connection.recv(1 << 10))
                connection.sendall(said)

        haproxy = threading.Thread(target=answer)
        haproxy.start()
        assert front.owners(tmp_path, 11) == {0: 1, 255: 2}
        haproxy.join()
    assert heard == [f"show map {tmp_path}/oblivious-keys.map\n".encode()]


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

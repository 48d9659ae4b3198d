"""The trial of two enclaves: what both are told would start, and trusts the emulated root."""

import base64
import subprocess
import sys
from pathlib import Path

from enclave_server.config import parse_config
from enclave_server.processes.startup import check
from protocol.encapsulation import GatewayKey, encapsulate_request
from scripts.emulation import cluster_trial
from scripts.emulation.vhost_nsm import ROOT_NAME, Signer


def test_its_enclaves_would_start_and_are_told_of_both_holes() -> None:
    config = parse_config(cluster_trial.CONFIGURATION)
    check(config)
    assert config.cluster.enabled
    assert config.cluster.peers == ("vsock://3:8101", "vsock://3:8102")
    assert config.cluster.listen == "vsock://any:8100"
    assert any(bytes.fromhex(cluster_trial.REGISTERS["PCR3"]))


def test_its_command_is_one_line_and_is_the_servers(tmp_path: Path) -> None:
    """The image's command has one word a line."""
    root = Signer.issue(ROOT_NAME, None, 1)
    assert Signer.load(root.pem()).der() == root.der()
    program = cluster_trial.TRUSTING.format(root=base64.b64encode(root.der()).decode())
    assert "\n" not in program
    file = tmp_path / "cluster.toml"
    file.write_text(cluster_trial.CONFIGURATION)
    shown = program.replace("sys.exit(main())", "print(Module.root.fget(None).subject); main()")
    options = ["--check-config", "--config", str(file)]
    done = subprocess.run(
        [sys.executable, "-B", "-c", shown, *options], capture_output=True, text=True, check=True
    )
    assert ROOT_NAME in done.stdout
    assert done.stderr == ""


def test_an_owner_is_found_by_what_it_states() -> None:
    body, _ = encapsulate_request(GatewayKey.generate(7).config, b"x")

    class Stating(cluster_trial.Server):
        slots: object = {}

        def statement(self) -> dict[str, object]:
            return {"slots": self.slots}

    found = []
    stated: list[object] = [{"7": [[0, 255]]}, {"7": []}, {"8": [[0, 255]]}, {}]
    for slots in stated:
        Stating.slots = slots
        found.append(Stating("http://a").owns(body))
    assert found == [True, False, False, False]

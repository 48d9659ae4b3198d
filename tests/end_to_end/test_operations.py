"""The commands of docs/operations.md: run here, or run by something else, or told why not.

Addresses, folders and the vsock of the examples are replaced by those that there are here.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from enclave_server.security_module.simulated import simulated_pcrs
from oblivious_client.policy import read_releases
from scripts.local.stack import PROGRAMS, ROOT, Stack
from tests.support.enclave_image import write_image
from tests.support.instance import BASE, Host

DEADLINE_SECONDS = 300.0
PASSPHRASE = "correct horse\n"
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", OPERATIONS, re.MULTILINE | re.DOTALL)
COMMANDS = [
    " ".join(line.split())
    for language, block in BLOCKS
    if language == "sh"
    for line in block.replace("\\\n", " ").splitlines()
]

GENKEY = "openssl genpkey -algorithm ed25519 -aes256 -out administrator.pem"
PUBLIC_KEY = "openssl pkey -in administrator.pem -pubout -outform DER | tail --bytes 32 | base64"
CHECK_CONFIG = "enclave-server --check-config --config my-enclave.toml"
SBOM = "scripts/sbom --out sbom.json"
INSTALL = "sudo scripts/deploy/install-host --image oblivious-inference.eif --pcrs pcrs.json"
INSTALL_CHECK = INSTALL.replace(" --image", " --check --image")
INSTALL_EGRESS = "sudo scripts/deploy/install-host --egress ways-out.toml"
SECOND = INSTALL.replace(" --image", " --count 2 --image")
COPY_FRONT = "sudo cp scripts/deploy/nginx-front.conf /etc/nginx/conf.d/oblivious-front.conf"
SLURP = "jq --slurp . old.json new.json >pcrs.json"
VERIFY_GATEWAY = (
    "oblivious-client verify --gateway https://gateway.example.com --pcrs pcrs.json --fresh"
)
VERIFY = "oblivious-client verify --relay https://relay.example.com --pcrs pcrs.json"
CHAT = (
    "oblivious-client chat --relay https://relay.example.com --pcrs pcrs.json"
    ' "What is the capital of France?"'
)
PROVISION = (
    "oblivious-client provision --gateway https://gateway.example.com --pcrs pcrs.json"
    " --secrets secrets.toml --admin-key administrator.pem"
)
RUN_HERE = {
    *(GENKEY, PUBLIC_KEY, INSTALL, INSTALL_CHECK, INSTALL_EGRESS, SECOND, COPY_FRONT, SLURP),
    *(VERIFY_GATEWAY, VERIFY, CHAT, PROVISION),
}

UNITS_RUNNING = "tests/scripts/deploy/test_units_running.py"
# The beginning of a command, and where it is run.
RUN_ELSEWHERE = {
    "scripts/enclave-test": ".ci/run",
    "scripts/soak ": "tests/scripts/soaking/test_soak.py",
    "scripts/soak-paid ": "tests/scripts/soaking/test_paid.py",
    "scripts/build-eif ": "scripts/emulation/image_trial.py",
    "scripts/describe-eif ": "scripts/emulation/image_trial.py",
    "sudo nginx -t ": "tests/scripts/deploy/test_units.py",
    "host-proxy --probe ": "tests/scripts/deploy/test_run_enclave.py",
    "sudo systemctl stop ": UNITS_RUNNING,
    "sudo /opt/oblivious-inference/bin/restart-enclave": UNITS_RUNNING,
    "sudo systemctl kill ": UNITS_RUNNING,
    "systemctl show ": UNITS_RUNNING,
    "sudo systemctl restart ": UNITS_RUNNING,
    "sudo cp scripts/deploy/haproxy-front.cfg ": "tests/scripts/deploy/test_haproxy_front.py",
    "sudo haproxy -c ": "tests/scripts/deploy/test_haproxy_front.py",
    'echo "set server ': "tests/scripts/deploy/test_haproxy_front_changes.py",
}
NOT_RUN = {
    "docker build ": "there is no engine for containers here",
    "nitro-cli build-enclave ": "it needs an engine for containers",
    "sudo nitro-cli run-enclave ": "it needs an instance with enclaves",
    "aws ec2 run-instances ": "it needs an account",
    "vsock-proxy ": "AWS's program, which needs a vsock",
    "sudo dnf install ": "it needs Amazon Linux",
    "sudoedit ": "it opens an editor",
    "sudo touch /etc/haproxy/": "it makes an empty file in the system's folder",
}


def test_every_command_is_run_or_it_is_said_why_not() -> None:
    assert set(COMMANDS) >= RUN_HERE
    elsewhere = [*RUN_ELSEWHERE, *NOT_RUN]
    for command in set(COMMANDS) - RUN_HERE:
        assert [each for each in elsewhere if command.startswith(each)], command
    for beginning in elsewhere:
        assert any(command.startswith(beginning) for command in COMMANDS), beginning
    assert all((ROOT / place).exists() for place in RUN_ELSEWHERE.values())


def block(beginning: str) -> str:
    """Return the TOML example that begins so."""
    (found,) = (text for language, text in BLOCKS if language == "toml" and beginning in text)
    return str(found)


def run(
    command: str,
    folder: Path,
    *,
    typed: str = "",
    code: int = 0,
    replaced: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command of the document in `folder`; return what it wrote on standard output."""
    places = {"scripts/": f"{ROOT}/scripts/", "oblivious-client ": f"{PROGRAMS}/oblivious-client "}
    for word, meaning in {**places, **(replaced or {})}.items():
        command = command.replace(word, meaning)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}", **(environment or {})},
        input=typed,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
        start_new_session=True,  # without a terminal, passphrases are read from standard input
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


# --- the configuration


@pytest.fixture(scope="module")
def administrator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an administrator's key pair, made as the document says."""
    folder = tmp_path_factory.mktemp("administrator")
    run(GENKEY, folder, typed=2 * PASSPHRASE)
    (folder / "public").write_text(run(PUBLIC_KEY, folder, typed=PASSPHRASE))
    example = block("[provision]")
    key = re.search(r'administrator_key = "(.*)"', example)
    assert key is not None
    config = example.replace(key[1], (folder / "public").read_text().strip())
    (folder / "my-enclave.toml").write_text(config)
    return folder


def test_the_key_is_kept_under_a_passphrase(administrator: Path) -> None:
    assert "ENCRYPTED" in (administrator / "administrator.pem").read_text()


def test_the_configuration_is_taken(administrator: Path) -> None:
    assert f"`{CHECK_CONFIG}`" in OPERATIONS
    run(CHECK_CONFIG, administrator)


def test_the_list_of_parts_is_written(tmp_path: Path) -> None:
    assert f"`{SBOM}`" in OPERATIONS
    run(SBOM, tmp_path)
    assert json.loads((tmp_path / "sbom.json").read_text())["bomFormat"] == "CycloneDX"


# --- the host


class Instance(Host):
    """An instance to which the release was copied, with sudo."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.folder = directory
        pins = write_image(directory / "oblivious-inference.eif")
        (directory / "pcrs.json").write_text(json.dumps({"Measurements": pins}))
        (directory / "ways-out.toml").write_text(block("[egress]"))
        (self.bin / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
        (self.bin / "sudo").chmod(0o755)

    def type(self, command: str, code: int = 0) -> str:
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "DESTDIR": str(self.root),
            "STATE": str(self.state),
        }
        replaced = {" /etc/": f" {self.root}/etc/"}
        return run(command, self.folder, code=code, replaced=replaced, environment=environment)


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    return Instance(tmp_path)


def test_a_host_is_installed(instance: Instance) -> None:
    assert "would install" in instance.type(INSTALL_CHECK, code=3)
    instance.type(INSTALL)
    assert instance.type(INSTALL_CHECK) == "everything is as it should be\n"
    instance.calls()
    instance.type(INSTALL_EGRESS)
    assert "systemctl start oblivious-egress.service" in instance.calls()
    assert (instance.root / BASE / "bin/restart-enclave").exists()


def test_a_second_enclave_has_units(instance: Instance) -> None:
    instance.type(INSTALL)
    instance.calls()
    instance.type(SECOND)
    calls = " ".join(instance.calls())
    for unit in ("oblivious-host-proxy@2.socket", "oblivious-enclave@2.service"):
        assert unit in calls
        template = unit.replace("@2", "@")
        assert (instance.root / "etc/systemd/system" / template).exists()


def test_the_front_is_put_in_its_place(instance: Instance) -> None:
    (instance.root / "etc/nginx/conf.d").mkdir(parents=True)
    instance.type(COPY_FRONT)
    front = (instance.root / "etc/nginx/conf.d/oblivious-front.conf").read_text()
    assert "# HERE" in front


# --- the client


def simulated() -> dict[str, str]:
    return {f"PCR{index}": value.hex() for index, value in simulated_pcrs().items() if index < 3}


def at(stack: Stack) -> dict[str, str]:
    """Return what the document's addresses stand for, and trials allowed."""
    return {
        "https://relay.example.com": stack.relay,
        "https://gateway.example.com": stack.gateway,
        " --pcrs": " --allow-simulated --no-cache --pcrs",
    }


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as stack:
        yield stack


def test_a_question_is_verified(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "pcrs.json").write_text(json.dumps({"Measurements": simulated()}))
    for command in (VERIFY_GATEWAY, VERIFY):
        assert "every check holds" in run(command, tmp_path, replaced=at(stack))
    assert "Paris" in run(CHAT, tmp_path, replaced=at(stack))


def test_two_releases_are_pinned_in_one_file(stack: Stack, tmp_path: Path) -> None:
    old = {"PCR0": "00" * 48}
    for name, pins in (("old", old), ("new", simulated())):
        (tmp_path / f"{name}.json").write_text(json.dumps({"Measurements": pins}))
    run(SLURP, tmp_path)
    assert len(read_releases(tmp_path / "pcrs.json")) == 2
    assert "every check holds" in run(VERIFY, tmp_path, replaced=at(stack))


def test_provider_keys_are_handed_over(administrator: Path) -> None:
    config = (administrator / "my-enclave.toml").read_text()
    assert '"vsock://3:8001"' in config
    here = administrator / "here.toml"
    here.write_text(config.replace("vsock://3:8001", f"unix:{administrator}/nobody"))
    (administrator / "pcrs.json").write_text(json.dumps({"Measurements": simulated()}))
    (administrator / "secrets.toml").write_text(block("[keys]"))
    (administrator / "secrets.toml").chmod(0o600)
    with Stack(server_options=["--config", here]) as stack:
        run(PROVISION, administrator, typed=PASSPHRASE, replaced=at(stack))
        run(PROVISION, administrator, typed=PASSPHRASE, replaced=at(stack), code=18)


def test_words_are_quoted_as_a_shell_takes_them() -> None:
    assert all(shlex.split(command) for command in COMMANDS)

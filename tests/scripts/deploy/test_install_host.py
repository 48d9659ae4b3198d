"""install-host on a root of its own with stand-ins for the system's commands; the Dockerfile."""

import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.image import recipe as image
from scripts.image.checkout import OWN_PACKAGES
from scripts.image.locks import read_lock
from tests.support.enclave_image import MEMBERS, write_image
from tests.support.instance import BASE, Host

CHECKOUT = Path(__file__).parents[3]
DEPLOY = CHECKOUT / "scripts" / "deploy"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


@pytest.fixture(scope="module")
def installed_once(tmp_path_factory: pytest.TempPathFactory) -> Host:
    host = Host(tmp_path_factory.mktemp("installed"))
    host.install()
    host.calls()
    return host


@pytest.fixture
def installed(installed_once: Host, tmp_path: Path) -> Host:
    return installed_once.copied(tmp_path)


def test_an_empty_instance_becomes_a_host(host: Host) -> None:
    host.install()
    assert host.calls() == [
        "dnf install --assumeyes aws-nitro-enclaves-cli python3.11",
        "systemctl enable --quiet nitro-enclaves-allocator.service",
        "systemctl restart nitro-enclaves-allocator.service",
        "systemctl daemon-reload",
        "systemctl enable --quiet oblivious-host-proxy.socket",
        "systemctl start oblivious-host-proxy.socket",
        "systemctl daemon-reload",
        "systemctl daemon-reload",
        "systemctl enable --quiet oblivious-enclave.service",
        "systemctl start oblivious-enclave.service",
    ]
    files = host.files()
    assert files[f"{BASE}/oblivious-inference.eif"][0] == host.image.read_bytes()
    for source in (CHECKOUT / "host_proxy").glob("*.py"):
        assert files[f"{BASE}/lib/host_proxy/{source.name}"][:2] == (source.read_bytes(), 0o644)
    for unit in [*DEPLOY.glob("oblivious-*.service"), *DEPLOY.glob("oblivious-*.socket")]:
        assert files[f"etc/systemd/system/{unit.name}"][:2] == (unit.read_bytes(), 0o644)
    for program in ("run-enclave", "restart-enclave"):
        assert files[f"{BASE}/bin/{program}"][:2] == ((DEPLOY / program).read_bytes(), 0o755)
    assert files["etc/nitro_enclaves/allocator.yaml"][0].decode() == (
        "---\n# Enclave configuration file.\n# How many CPUs.\nmemory_mib: 2048\ncpu_count: 2\n"
    )


def test_doing_it_again_changes_nothing(installed: Host) -> None:
    before = installed.files()
    assert installed.install() == "everything is as it should be\n"
    assert installed.run("--check") == "everything is as it should be\n"
    assert installed.calls() == []
    assert installed.files() == before


def test_a_check_says_what_would_be_done_and_does_nothing(host: Host) -> None:
    before = host.files()
    said = host.run("--check", "--image", str(host.image), code=3, STAND_IN_USER="1000")
    assert "would install aws-nitro-enclaves-cli python3.11" in said
    assert f"would write /{BASE}/bin/host-proxy" in said
    assert "would start oblivious-enclave.service" in said
    assert all(line.startswith("would ") for line in said.splitlines())
    assert host.calls() == []
    assert host.files() == before


def test_the_installed_program_runs_apart_from_the_checkout(installed: Host) -> None:
    program = installed.root / BASE / "bin/host-proxy"
    assert program.read_text().startswith("#!/usr/bin/python3.11 -IB\n")
    assert program.stat().st_mode & 0o777 == 0o755
    moved = program.with_name("moved")
    moved.write_text(program.read_text().replace(f'"/{BASE}', f'"{installed.root}/{BASE}'))
    done = subprocess.run(
        [sys.executable, "-IB", moved, "--help"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
        cwd="/",
    )
    assert done.stdout.startswith("usage: host-proxy")


def test_a_damaged_proxy_is_mended_and_restarted_alone(installed: Host) -> None:
    (installed.state / "active-oblivious-host-proxy.service").touch()
    proxy = installed.root / BASE / "lib/host_proxy"
    (proxy / "cli.py").write_text("")
    (proxy / "of_an_older_release.py").touch()
    said = installed.install()
    assert (proxy / "cli.py").read_bytes() == (CHECKOUT / "host_proxy/cli.py").read_bytes()
    assert not (proxy / "of_an_older_release.py").exists()
    assert "the enclave runs" not in said
    assert installed.calls() == ["systemctl restart oblivious-host-proxy.service"]


def test_a_running_enclave_is_left_to_its_users(installed: Host) -> None:
    write_image(installed.image, b"another application")
    said = installed.install()
    assert said.splitlines()[-1].endswith(f"/{BASE}/bin/restart-enclave")
    assert installed.calls() == []
    image_file = installed.root / BASE / "oblivious-inference.eif"
    assert image_file.read_bytes() == installed.image.read_bytes()


def test_other_sizes_are_reserved_and_told_to_the_units(installed: Host) -> None:
    allocator = installed.root / "etc/nitro_enclaves/allocator.yaml"
    allocator.write_text(allocator.read_text() + "cpu_pool: 2,3\n")
    said = installed.install("--memory", "4096", "--cpus", "4", "--cid", "20")
    assert allocator.read_text().endswith("# How many CPUs.\nmemory_mib: 4096\ncpu_count: 4\n")
    settings = (installed.root / "etc/oblivious-inference/enclave.env").read_text()
    assert settings == "ENCLAVE_CID=20\nENCLAVE_CPUS=4\nENCLAVE_MIB=4096\n"
    assert installed.calls() == ["systemctl restart nitro-enclaves-allocator.service"]
    assert "the enclave runs as it was started" in said


def test_several_enclaves_have_addresses_units_and_memory_of_their_own(host: Host) -> None:
    host.reserve_pages(3 * 1024)
    said = host.run("--image", str(host.image), "--count", "3", "--cid", "20")
    settings = host.root / "etc/oblivious-inference"
    for number, name in enumerate(("enclave.env", "enclave2.env", "enclave3.env")):
        lines = (settings / name).read_text().splitlines()
        assert lines == [
            f"ENCLAVE_CID={20 + number}",
            "ENCLAVE_CPUS=2",
            "ENCLAVE_MIB=2048",
            "ENCLAVE_PATIENCE=0",
        ]
    assert not (settings / "enclave4.env").exists()
    allocator = (host.root / "etc/nitro_enclaves/allocator.yaml").read_text()
    assert allocator.endswith("memory_mib: 6144\ncpu_count: 6\n")
    calls = host.calls()
    for instance in ("", "@2", "@3"):
        assert f"systemctl start oblivious-enclave{instance}.service" in calls
        assert f"systemctl start oblivious-host-proxy{instance}.socket" in calls
    assert "start oblivious-enclave@3.service" in said
    assert host.install("--count", "3", "--cid", "20") == "everything is as it should be\n"


def test_too_few_huge_pages_for_several_are_noticed(host: Host) -> None:
    host.reserve_pages(1024)
    said = host.run("--image", str(host.image), "--count", "2", code=1)
    assert "2048 MiB of huge pages, not 4096" in said


def test_an_egress_is_started_where_there_is_one(installed: Host, tmp_path: Path) -> None:
    egress = tmp_path / "ways-out.toml"
    egress.write_text('[egress]\n"vsock://3:8001" = "api.example.com:443"\n')
    installed.install("--egress", str(egress))
    assert installed.calls() == [
        "systemctl enable --quiet oblivious-egress.service",
        "systemctl start oblivious-egress.service",
    ]
    assert installed.install() == "everything is as it should be\n"
    placed = installed.root / "etc/oblivious-inference/egress.toml"
    assert placed.read_bytes() == egress.read_bytes()


def test_without_an_image_the_host_is_made_ready(host: Host) -> None:
    assert "--image FILE" in host.run().splitlines()[-1]
    assert "systemctl start oblivious-enclave.service" not in host.calls()


def test_a_command_that_fails_ends_it(host: Host) -> None:
    (host.bin / "dnf").write_text("#!/bin/sh\nexit 5\n")
    host.run("--image", str(host.image), code=5)
    assert not (host.root / BASE).exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--image", "/nowhere.eif"], "there is no image"),
        (["--egress", "/nowhere.toml"], "there is no file"),
        (["--image", __file__, "--pcrs", "/nowhere.json"], "there is no file"),
        (["--pcrs", __file__], "for an --image"),
        (["--cpus", "3"], "even"),
        (["--cpus", "two"], "positive number"),
        (["--memory", ""], "positive number"),
        (["--memory"], "takes a value"),
        (["--cid", "3"], "4 or more"),
        (["--count", "5"], "4 or less"),
        (["--count", "0"], "positive number"),
        (["--verbose"], "no option"),
    ],
)
def test_wrong_usage_changes_nothing(host: Host, options: list[str], sentence: str) -> None:
    assert sentence in host.run(*options, code=2)
    assert host.calls() == []


def test_too_little_memory_for_the_image_is_refused(host: Host) -> None:
    with host.image.open("wb") as file:
        file.truncate(200 << 20)
    assert "at least 804" in host.run("--image", str(host.image), "--memory", "512", code=2)


def test_other_systems_and_instances_without_enclaves_are_refused(host: Host) -> None:
    host.run(code=1, STAND_IN_USER="1000")
    (host.root / "dev/nitro_enclaves").unlink()
    assert "--enclave-options" in host.run(code=1)
    (host.root / "etc/os-release").write_text("ID=debian\nVERSION_ID=12\n")
    assert "not Amazon Linux 2023" in host.run(code=1)
    (host.root / "etc/os-release").unlink()
    host.run(code=1)
    assert host.calls() == ["dnf install --assumeyes aws-nitro-enclaves-cli python3.11"]


# --- the image


@pytest.mark.parametrize("member", MEMBERS)
def test_an_image_that_awss_reader_refuses_is_not_installed(host: Host, member: str) -> None:
    write_image(host.image, without={member})
    said = host.run("--image", str(host.image), code=1)
    assert said.splitlines()[-1] == (f"install-host: AWS's reader refuses the image {host.image}")
    assert not (host.root / BASE).exists()
    assert host.calls() == ["dnf install --assumeyes aws-nitro-enclaves-cli python3.11"]


def test_an_image_with_a_wrong_checksum_is_not_installed(host: Host) -> None:
    host.image.write_bytes(host.image.read_bytes()[:-1] + b"?")
    assert "checksum" in host.run("--image", str(host.image), code=1)
    assert not (host.root / BASE).exists()


def test_an_image_that_changes_while_it_is_looked_at_is_not_the_one_installed(host: Host) -> None:
    """What is installed has been looked at: whoever writes to the given file comes too late."""
    reader = (host.bin / "nitro-cli").resolve()
    (host.bin / "nitro-cli").unlink()
    (host.bin / "nitro-cli").write_text(f'#!/bin/sh\n{reader} "$@" && echo other >{host.image}\n')
    (host.bin / "nitro-cli").chmod(0o755)
    looked_at = host.image.read_bytes()
    host.run("--image", str(host.image))
    assert host.image.read_text() == "other\n"
    assert (host.root / BASE / "oblivious-inference.eif").read_bytes() == looked_at


def test_a_reader_that_cannot_be_asked_is_told_from_one_that_refuses(host: Host) -> None:
    (host.bin / "nitro-cli").unlink()
    (host.bin / "nitro-cli").write_text("#!/bin/sh\nexit 57\n")
    (host.bin / "nitro-cli").chmod(0o755)
    assert "cannot describe the image" in host.run("--image", str(host.image), code=1)


def test_a_pinned_image_is_installed_and_no_other(host: Host) -> None:
    old = write_image(host.image, b"old")
    new = write_image(host.image, b"new")
    host.install("--pcrs", host.pin(new))
    host.install("--pcrs", host.pin(old, {"PCR0": new["PCR0"].upper()}))
    write_image(host.image, b"old")
    said = host.run("--image", str(host.image), "--pcrs", host.pin(new), code=1)
    assert "PCR0, PCR2 differ" in said
    said = host.run("--check", "--image", str(host.image), "--pcrs", host.pin(new), code=1)
    assert "PCR0, PCR2 differ" in said
    write_image(host.image, b"new")
    assert host.install("--pcrs", host.pin(new)) == "everything is as it should be\n"


@pytest.mark.parametrize(
    "text", ["", "[]", "[1]", "{}", '{"PCR0": "00"}', '{"PCR0": 1}', "[" * 100_000]
)
def test_a_file_without_measurements_pins_nothing(host: Host, text: str) -> None:
    path = Path(host.pin({}))
    path.write_text(text)
    assert "holds no measurements" in host.run(
        "--image", str(host.image), "--pcrs", str(path), code=1
    )
    assert not (host.root / BASE).exists()


def test_measurements_that_do_not_tell_the_code_pin_nothing(host: Host) -> None:
    pinned = host.pin({"PCR3": "00" * 48, "PCR1": "00" * 48})
    said = host.run("--image", str(host.image), "--pcrs", pinned, code=1)
    assert "does not pin the code" in said


def test_without_the_reader_a_check_says_that_it_would_be_asked(host: Host) -> None:
    (host.bin / "nitro-cli").unlink()
    said = host.run("--check", "--image", str(host.image), code=3)
    assert f"would have AWS's reader look at {host.image}" in said


# --- the reservation


@pytest.mark.parametrize("found", [None, "", "memory_mib: 512\n"])
def test_the_allocators_file_has_the_line_that_its_reader_waits_for(
    host: Host, found: str | None
) -> None:
    allocator = host.root / "etc/nitro_enclaves/allocator.yaml"
    (host.bin / "dnf").write_text("#!/bin/sh\n")
    if found is not None:
        allocator.parent.mkdir()
        allocator.write_text(found)
    host.install()
    assert allocator.read_text() == "---\nmemory_mib: 2048\ncpu_count: 2\n"


def test_too_few_huge_pages_are_noticed(host: Host) -> None:
    host.reserve_pages(1023)
    said = host.run("--image", str(host.image), code=1)
    assert "2046 MiB of huge pages, not 2048" in said
    assert "systemctl start oblivious-enclave.service" not in host.calls()
    larger = host.root / "sys/kernel/mm/hugepages/hugepages-1048576kB"
    larger.mkdir()
    (larger / "nr_hugepages").write_text("1\n")
    host.install()


def test_the_units_name_the_places_that_are_installed() -> None:
    text = "".join(path.read_text() for path in DEPLOY.glob("oblivious-*.service"))
    text = text.replace("%i", "")  # as it is for the first enclave
    script = (DEPLOY / "install-host").read_text()
    assert f"/{BASE}/bin/host-proxy" in text
    assert f"/{BASE}/oblivious-inference.eif" in text
    assert set(re.findall(r"/etc/oblivious-inference/\S+\.(?:env|toml)", text)) == {
        "/etc/oblivious-inference/enclave.env",
        "/etc/oblivious-inference/egress.toml",
    }
    for name in ("ENCLAVE_CID", "ENCLAVE_CPUS", "ENCLAVE_MIB"):
        assert f"{name}=$" in script
        assert name in text
    for program in ("run-enclave", "restart-enclave"):
        assert f"/{program}" in script


def test_the_same_units_serve_further_enclaves(installed: Host) -> None:
    units = installed.root / "etc/systemd/system"
    for unit in ("oblivious-enclave", "oblivious-host-proxy"):
        assert (units / f"{unit}@.service").read_bytes() == (units / f"{unit}.service").read_bytes()
    assert not (units / "oblivious-egress@.service").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    programs = [DEPLOY / name for name in ("install-host", "run-enclave", "restart-enclave")]
    subprocess.run(["shellcheck", *programs], check=True, timeout=300)


# --- the Dockerfile


def instructions() -> Iterator[tuple[str, str]]:
    """Yield the Dockerfile's instructions and their arguments, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text()
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    for line in filter(str.strip, text.splitlines()):
        name, _, arguments = line.partition(" ")
        yield name, arguments.strip()


def arguments_of(name: str) -> list[str]:
    return [arguments for found, arguments in instructions() if found == name]


def test_the_base_is_pinned_by_digest() -> None:
    base = next(each for each in arguments_of("ARG") if each.startswith("BASE="))
    assert re.fullmatch(r"BASE=docker\.io/library/python:3\.13-\S+@sha256:[0-9a-f]{64}", base)
    assert arguments_of("FROM") == ["${BASE} AS build", "scratch"]
    assert not arguments_of("ADD")


def test_all_that_the_image_copies_is_here_and_let_through() -> None:
    defaults = dict(each.split("=", 1) for each in arguments_of("ARG"))
    passed = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [each for each in arguments_of("COPY") if not each.startswith("--from")]
    sources = [source for each in copied for source in each.split()[:-1]]
    assert len(sources) >= 7
    for source in sources:
        source = re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], source)
        assert (CHECKOUT / source).exists()
        assert any(source == name or source.startswith(f"{name}/") for name in passed)
    packages = [source for source in sources if (CHECKOUT / source).is_dir()]
    assert packages == list(OWN_PACKAGES)


def test_both_images_install_the_same_locks_and_start_the_same_server() -> None:
    steps = " ".join(" ".join(arguments_of("RUN")).split())
    for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", "enclave.txt", "model"):
        assert option in steps
    printed = re.search(r"printf '%s\\n' (.*?) >etc/oblivious/command", steps)
    assert printed is not None
    interpreter, *command = printed[1].split()
    assert command == list(image.COMMAND[1:])
    assert interpreter == "/usr/local/bin/python3.13"
    assert any(package.name == "libgomp1" for package in read_lock(image.LOCK).packages)


@pytest.mark.parametrize(("settings", "status"), [("", 0), ("[server]\nworker = 1\n", 2)])
def test_settings_with_which_no_server_starts_end_the_build(
    tmp_path: Path, settings: str, status: int
) -> None:
    steps = " ".join(" ".join(arguments_of("RUN")).split())
    found = re.search(
        r"&& PYTHONPATH=\S+ python3 (-B -m enclave_server --check-config .*?) &&", steps
    )
    assert found is not None
    # COPY has put the configuration where the server's own command finds it.
    assert found[1].split()[-1] == image.COMMAND[-1].removeprefix("/")
    config = tmp_path / "etc" / "oblivious" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(settings)
    command = [sys.executable, *found[1].split()]
    assert subprocess.run(command, cwd=tmp_path, check=False, timeout=60).returncode == status


@pytest.mark.parametrize("step", arguments_of("RUN"))
def test_each_step_is_shell(step: str) -> None:
    subprocess.run(["sh", "-n"], input=step, text=True, check=True, timeout=300)


def test_under_awss_init_the_start_sends_no_second_heartbeat() -> None:
    start = runpy.run_path(str(image.GUEST / "start.py"))
    (command,) = arguments_of("CMD")
    assert f'"/start.py", "{start["HEARTBEAT_SENT"]}"' in command
    assert not {"USER", "WORKDIR", "ENTRYPOINT"} & {name for name, _ in instructions()}

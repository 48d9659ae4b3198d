"""The operator's files: systemd takes the units and finds them tight; the front adds nothing."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.host_proxy_process import (
    DEADLINE,
    accept,
    in_background,
    listen_tcp,
    read_all,
    running,
    until,
)

DEPLOY = Path(__file__).parents[3] / "scripts" / "deploy"
SERVICES = sorted(path.name for path in DEPLOY.glob("oblivious-*.service"))
UNITS = [*SERVICES, "oblivious-host-proxy.socket"]
TEMPLATES = [
    "oblivious-enclave.service",
    "oblivious-host-proxy.service",
    "oblivious-host-proxy.socket",
]
WORST_EXPOSURE = 2.0
PROGRAMS = re.compile(r"/opt/oblivious-inference/bin/[a-z-]+|/usr/bin/nitro-cli")
ALLOCATOR = "[Unit]\nDescription=Stand-in\n[Service]\nType=oneshot\nExecStart=/bin/true\n"

with_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
with_nginx = pytest.mark.skipif(
    shutil.which("nginx", path="/usr/sbin:/usr/bin") is None, reason="nginx is not installed"
)


def test_all_units_are_here() -> None:
    assert SERVICES == [
        "oblivious-alarm@.service",
        "oblivious-egress.service",
        "oblivious-enclave.service",
        "oblivious-front.service",
        "oblivious-host-proxy.service",
    ]


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with programs that exist on this machine, and the allocator's unit."""
    for name in UNITS:
        text = PROGRAMS.sub("/bin/true", (DEPLOY / name).read_text())
        (tmp_path / name).write_text(text)
    (tmp_path / "nitro-enclaves-allocator.service").write_text(ALLOCATOR)
    for unit in tmp_path.iterdir():
        unit.chmod(0o644)  # whatever the umask: systemd warns of units that others may write
    return tmp_path


def analyze(units: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{units}:/usr/lib/systemd/system:/lib/systemd/system"
    return subprocess.run(
        ["systemd-analyze", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "SYSTEMD_UNIT_PATH": path, "SYSTEMD_COLORS": "0", "LC_ALL": "C.UTF-8"},
    )


@with_systemd
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_no_fault(units: Path, name: str) -> None:
    result = analyze(units, "verify", str(units / name))
    assert result.returncode == 0, result.stderr
    assert name not in result.stderr


@with_systemd
@pytest.mark.parametrize("name", TEMPLATES)
def test_systemd_finds_no_fault_in_a_further_enclaves_units(units: Path, name: str) -> None:
    for each in TEMPLATES:
        (units / each.replace(".", "@.")).write_text((units / each).read_text())
        (units / each.replace(".", "@.")).chmod(0o644)
    instance = name.replace(".", "@2.")
    result = analyze(units, "verify", str(units / instance))
    assert result.returncode == 0, result.stderr
    assert instance not in result.stderr


@with_systemd
@pytest.mark.parametrize("name", SERVICES)
def test_services_expose_little(units: Path, name: str) -> None:
    result = analyze(units, "security", "--offline=true", str(units / name))
    exposure = re.search(r"Overall exposure level for \S+: (\d+\.\d+)", result.stdout)
    assert exposure is not None, result.stderr
    assert float(exposure[1]) < WORST_EXPOSURE


@pytest.mark.parametrize("name", ["oblivious-host-proxy.service", "oblivious-egress.service"])
def test_the_carriers_have_no_capability_and_no_device(name: str) -> None:
    settings = (DEPLOY / name).read_text().splitlines()
    families = next(line for line in settings if line.startswith("RestrictAddressFamilies="))
    assert "AF_VSOCK" in families
    for setting in (
        "Type=notify",
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "PrivateDevices=yes",
        "NoNewPrivileges=yes",
    ):
        assert setting in settings


@pytest.mark.parametrize("name", [name for name in SERVICES if "alarm" not in name])
def test_services_are_restarted_for_ever_and_their_end_is_told(name: str) -> None:
    settings = (DEPLOY / name).read_text().splitlines()
    for setting in (
        "StartLimitIntervalSec=0",
        "OnFailure=oblivious-alarm@%n.service",
        "Restart=on-failure",
    ):
        assert setting in settings


def test_a_client_waits_longer_than_a_start_of_the_enclave_takes() -> None:
    text = (DEPLOY / "oblivious-host-proxy.service").read_text()
    assert "ENCLAVE_PATIENCE=60\n" in text
    assert "--retry-seconds ${ENCLAVE_PATIENCE} " in text


@pytest.mark.parametrize("instance", ["", "2", "3", "4"])
def test_each_enclave_of_a_host_has_ports_of_its_own(instance: str) -> None:
    text = "".join((DEPLOY / name).read_text() for name in TEMPLATES)
    ports = [int(port) for port in re.findall(r"127\.0\.0\.1:(\S+)", text.replace("%i", instance))]
    assert ports == [int(f"{instance}{port}") for port in (9102, 9100, 8443)]
    assert max(ports) < 1 << 16


def test_the_socket_unit_and_the_service_agree_on_the_name() -> None:
    socket_unit = (DEPLOY / "oblivious-host-proxy.socket").read_text()
    service = (DEPLOY / "oblivious-host-proxy.service").read_text()
    assert "FileDescriptorName=ingress" in socket_unit
    assert "--listen systemd:ingress" in service


class Front:
    """nginx with the front's configuration before a host_proxy and an enclave that is played."""

    def __init__(self, port: int, authority: trustme.CA, enclave: socket.socket) -> None:
        self.port = port
        self.enclave = enclave
        self._authority = authority

    def connect(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLSocket:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        context.maximum_version = version
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        return context.wrap_socket(sock, server_hostname="gateway.example.com")

    def ask(self, request: bytes, answer: bytes) -> tuple[bytes, bytes]:
        """Send a request; return what came to the enclave and what came back."""
        with self.connect() as client:
            client.sendall(request)
            with accept(self.enclave) as server:
                arrived = server.recv(1 << 16)
                while not arrived.endswith(request.rpartition(b"\r\n")[2]):
                    arrived += server.recv(1 << 16)
                server.sendall(answer)
            return arrived, read_all(client)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    authority = trustme.CA()
    certificate = authority.issue_cert("gateway.example.com")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "front.pem")
    with listen_tcp() as enclave:
        target = f"tcp://127.0.0.1:{enclave.getsockname()[1]}"
        with (
            running("--listen", "tcp://127.0.0.1:0", "--connect", target) as proxy,
            listen_tcp() as listener,
            nginx(tmp_path, listener, proxy.ports()[0]),
        ):
            yield Front(listener.getsockname()[1], authority, enclave)


@contextlib.contextmanager
def nginx(directory: Path, listener: socket.socket, upstream: int) -> Iterator[None]:
    """Run nginx on `listener` with the front's configuration, its places moved here."""
    port = listener.getsockname()[1]
    front = (DEPLOY / "nginx-front.conf").read_text()
    for theirs, ours in (
        ("listen 443 ", f"listen 127.0.0.1:{port} "),
        ("127.0.0.1:8443", f"127.0.0.1:{upstream}"),
        ("/etc/oblivious-inference/front.pem", f"{directory}/front.pem"),
        ("/etc/oblivious-inference/front.key", f"{directory}/front.pem"),
        ("/srv/oblivious-inference", f"{directory}/files"),
    ):
        assert theirs in front
        front = front.replace(theirs, ours)
    paths = "".join(
        f"{name}_temp_path {directory}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # to reach what is in a private folder
    config.write_text(
        f"{user} daemon off; pid {directory}/pid; error_log stderr error;\n"
        f"events {{}}\nhttp {{\n{paths}{front}}}\n"
    )
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    command = [str(program), "-p", str(directory), "-c", str(config), "-e", "stderr"]
    # How nginx hands its sockets to its successor; so that no port has to be guessed.
    environment = os.environ | {"NGINX": f"{listener.fileno()};"}
    with (
        (directory / "log").open("ab") as log,
        subprocess.Popen(
            command, stderr=log, pass_fds=[listener.fileno()], env=environment
        ) as process,
    ):
        try:
            until((directory / "pid").exists)
            os.truncate(directory / "log", 0)  # it tells that it was given a socket
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE)


BODY = b"sealed request"
REQUEST = (
    b"POST /v1/ohttp HTTP/1.1\r\nHost: gateway.example.com\r\nContent-Type: message/ohttp-req\r\n"
    b"X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nVia: 1.1 relay\r\nCookie: a=b\r\n"
    b"User-Agent: somebody\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-res\r\nContent-Length: 13\r\n"
    b"Connection: close\r\n\r\nsealed answer"
)


@with_nginx
def test_the_front_hands_on_the_body_and_its_type_only(front: Front, tmp_path: Path) -> None:
    arrived, answered = front.ask(REQUEST, ANSWER)
    head, _, body = arrived.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/ohttp HTTP/1.1"
    assert sorted(line.partition(b":")[0].lower() for line in lines[1:]) == [
        b"content-length",
        b"content-type",
        b"host",
    ]
    assert body == BODY
    assert answered.endswith(b"\r\n\r\nsealed answer")
    assert (tmp_path / "log").read_bytes() == b""


@with_nginx
def test_the_front_speaks_tls_1_3_only(front: Front) -> None:
    with front.connect() as client:
        assert client.version() == "TLSv1.3"
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        front.connect(ssl.TLSVersion.TLSv1_2)


@with_nginx
def test_the_front_hands_on_each_piece_of_an_answer_at_once(front: Front) -> None:
    with front.connect() as client:
        client.sendall(REQUEST.replace(b"message/ohttp-req", b"message/ohttp-chunked-req"))
        with accept(front.enclave) as server:
            server.recv(1 << 16)
            server.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: message/ohttp-chunked-res\r\n"
                b"Incremental: ?1\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            received = b""
            for piece in (b"first", b"other"):
                server.sendall(b"5\r\n%b\r\n" % piece)
                while piece not in received:
                    received += client.recv(1 << 16)
            server.sendall(b"0\r\n\r\n")
            assert b"Incremental: ?1" in received + read_all(client)


@with_nginx
def test_the_front_hands_on_an_upload_as_it_comes(front: Front) -> None:
    with front.connect() as client:
        client.sendall(REQUEST[:-4])
        with accept(front.enclave) as server:
            arrived = b""
            while not arrived.endswith(BODY[:-4]):
                arrived += server.recv(1 << 16)
            client.sendall(REQUEST[-4:])
            assert server.recv(1 << 16) == BODY[-4:]


@with_nginx
def test_the_enclave_learns_that_a_relay_has_gone(front: Front) -> None:
    client = front.connect()
    client.sendall(REQUEST)
    with accept(front.enclave) as server:
        server.recv(1 << 16)
        in_background(client.close).join(DEADLINE)
        assert server.recv(1 << 16) == b""

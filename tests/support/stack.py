"""What end-to-end tests stand on: the whole stack, relays, and pumps that record what passes."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trustme

from scripts.local.stack import Child, Stack, silent

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "scripts" / "deploy"
DEADLINE_SECONDS = 120.0
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")

needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

__all__ = [
    "Stack",
    "Tap",
    "TappedStack",
    "careless_relay",
    "needs_nginx",
    "nginx_relay",
    "reference_relay",
]


class TappedStack(Stack):
    """The whole stack with a pump before each of its parts, that of the relay included."""

    def __init__(self, server_options: Sequence[str | Path] = ()) -> None:
        self.taps: dict[str, Tap] = {}
        self.opened = contextlib.ExitStack()
        super().__init__(interpose=self.tap, server_options=server_options)

    def tap(self, name: str, address: str) -> str:
        """Put a pump before `address`; only the proxy wants a Unix socket."""
        path = self.folder / f"{name}.tap" if address.startswith("unix:") else None
        self.taps[name] = self.opened.enter_context(Tap(address, path))
        return self.taps[name].address.replace("tcp://", "http://")

    def start(self) -> None:
        """Start all parts, and the pump before the relay."""
        super().start()
        self.relay = self.tap("relay", self.relay)

    def stop(self) -> None:
        """Stop all parts, then the pumps."""
        super().stop()
        self.opened.close()

    @property
    def captured(self) -> bytes:
        """All bytes that passed any of the pumps, either way."""
        return b"".join(bytes(tap.captured) for tap in self.taps.values())

    @property
    def written(self) -> str:
        """All that the parts wrote to standard output and standard error so far."""
        return "\n".join(line for child in self.children for line in child.lines)


def parse(address: str) -> tuple[str, int] | str:
    """Return (host, port) or a Unix socket's path."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:")
    host, _, port = address.partition("://")[2].rpartition(":")
    return host, int(port)


def connect(address: str) -> socket.socket:
    """Connect to `unix:PATH`, `tcp://HOST:PORT` or `http://HOST:PORT`."""
    place = parse(address)
    if isinstance(place, tuple):
        return socket.create_connection(place, DEADLINE_SECONDS)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(place)
    except OSError:
        connection.close()
        raise
    connection.settimeout(DEADLINE_SECONDS)  # before, it would turn a full queue into an error
    return connection


@contextlib.contextmanager
def reference_relay(gateway: str) -> Iterator[str]:
    """Run scripts/relay.py; give its URL."""
    options = ["--listen", "tcp://127.0.0.1:0", "--gateway", gateway]
    child = Child("relay", [sys.executable, ROOT / "scripts" / "relay.py", *options], {})
    try:
        child.wait_ready(silent)
        yield child.url
    finally:
        child.stop()
    assert child.process.returncode == 0
    assert len(child.lines) == 2  # where it listens and that it is ready; nothing about anyone


NGINX_CONF = """
{user}
{before}
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log {folder}/error.log info;
events {{}}
http {{
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {http}
}}
"""

GATEWAY_CONF = """
upstream oblivious_gateway {{
    server {server};
    keepalive 8;
}}
map "" $oblivious_gateway_name {{ default gateway.example.com; }}
map "" $oblivious_gateway_scheme {{ default {scheme}; }}
proxy_ssl_trusted_certificate {folder}/authorities.pem;
proxy_cache_path {folder}/cache keys_zone=oblivious_relay:1m;
proxy_cache_path {folder}/renewed keys_zone=oblivious_renewed:1m;
"""

TLS_CONF = """
listen {listen} ssl http2;
ssl_certificate {folder}/relay.pem;
ssl_certificate_key {folder}/relay.pem;
"""


def server_of(gateway: str) -> str:
    """Return a gateway's address in nginx's words."""
    return gateway if gateway.startswith("unix:") else gateway.partition("://")[2]


def deployed(
    gateway: str,
    folder: Path,
    listen: str,
    authority: trustme.CA | None,
    certificate: trustme.LeafCert | None,
) -> str:
    """Install the configuration that is deployed into `folder`, with a site of its own.

    The gateway is reached over TLS if there is an `authority` to verify it by, the relay if there
    is a `certificate` for it to show.
    """
    site = folder / "oblivious-relay"
    site.mkdir()
    shutil.copy(DEPLOY / "oblivious-relay" / "copy.conf", site)
    own = (DEPLOY / "relay-nginx.conf").read_text()
    assert own.count("127.0.0.1:8482") == 2  # for this nginx alone: listened at, and asked
    (folder / "relay-nginx.conf").write_text(own.replace("127.0.0.1:8482", f"unix:{folder}/own"))
    (site / "listen.conf").write_text(f"listen {listen};\n")
    if certificate is not None:
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
        (site / "listen.conf").write_text(TLS_CONF.format(listen=listen, folder=folder))
    scheme = "http" if authority is None else "https"
    site_text = GATEWAY_CONF.format(server=server_of(gateway), folder=folder, scheme=scheme)
    (site / "gateway.conf").write_text(site_text)
    (authority or trustme.CA()).cert_pem.write_to_path(str(folder / "authorities.pem"))
    return f"access_log {folder}/access.log; include relay-nginx.conf;"


def careless(gateway: str, folder: Path, listen: str) -> str:
    """Return what nginx is commonly configured with when it stands before something."""
    return f"""
    access_log {folder}/access.log;
    server {{
        listen {listen};
        location / {{
            proxy_pass http://{server_of(gateway)}:;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
    """


@contextlib.contextmanager
def nginx(folder: Path, listener: socket.socket, http: str, before: str = "") -> Iterator[None]:
    """Run a real nginx on `listener` with `http` as the contents of its http block."""
    user = "user root;" if os.geteuid() == 0 else ""  # to reach sockets in a private folder
    text = NGINX_CONF.format(user=user, folder=folder, before=before, http=http)
    (folder / "nginx.conf").write_text(text)
    errors = folder / "stderr"
    with errors.open("w") as stream:
        command = [str(NGINX), "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=stream,
            pass_fds=[listener.fileno()],
            # How nginx hands its sockets to its successor; so that no port has to be guessed.
            env=os.environ | {"NGINX": f"{listener.fileno()};"},
        )
        try:
            wait_for(folder / "pid", process, errors)
            yield
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)


def wait_for(path: Path, process: subprocess.Popen[bytes], errors: Path) -> None:
    """Return when a file is there."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not path.exists():
        assert process.poll() is None, errors.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def nginx_relay(
    gateway: str,
    folder: Path,
    authority: trustme.CA | None = None,
    certificate: trustme.LeafCert | None = None,
) -> Iterator[str]:
    """Run nginx as it is deployed; give its URL. See `deployed` for TLS."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        with nginx(folder, listener, deployed(gateway, folder, name, authority, certificate)):
            yield f"http://{name}" if certificate is None else f"https://{name}"
    # The site writes nothing about clients anywhere, nor does what surrounds it.
    written = [path.read_text() for path in (folder / "error.log", folder / "stderr")]
    assert "client:" not in "".join(written)
    assert (folder / "access.log").read_text() == ""


@contextlib.contextmanager
def careless_relay(gateway: str, folder: Path) -> Iterator[str]:
    """Run nginx as a plain reverse proxy; give its URL."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        name = f"127.0.0.1:{listener.getsockname()[1]}"
        with nginx(folder, listener, careless(gateway, folder, name)):
            yield f"http://{name}"


@dataclass
class Tap:
    """A pump between two parts that records all bytes in both directions.

    It listens on a Unix socket at `path`, or else on a free port.
    """

    target: str
    path: Path | None = None
    captured: bytearray = field(default_factory=bytearray)
    connections: int = 0
    address: str = ""

    def __enter__(self) -> "Tap":
        if self.path is None:
            self.listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{self.listener.getsockname()[1]}"
        else:
            self.listener = socket.create_server(str(self.path), family=socket.AF_UNIX)
            self.address = f"unix:{self.path}"
        self.open: list[socket.socket] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            for end in self.open:
                end.close()

    def accept(self) -> None:
        """Pump every connection that comes, each way in a thread of its own."""
        with contextlib.suppress(OSError):
            while True:
                near = self.listener.accept()[0]
                try:
                    far = connect(self.target)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                self.connections += 1
                with self.lock:
                    self.open += (near, far)
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self.pump, args=ends, daemon=True).start()

    def pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Carry one direction to its end, and that end too."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                with self.lock:
                    self.captured += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
            return
        # Broken, not ended: break the other side too.
        with contextlib.suppress(OSError):
            source.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

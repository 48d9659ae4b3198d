"""The relays that are shipped, as their files are: they start, and find and verify a gateway."""

import contextlib
import http.server
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import pytest
import trustme

from tests.support.haproxy import haproxy, haproxy_relay, needs_haproxy, site
from tests.support.name_server import NameServer, name_server
from tests.support.stack import (
    DEADLINE_SECONDS,
    DEPLOY,
    NGINX,
    NGINX_CONF,
    needs_nginx,
    nginx,
    nginx_relay,
)

NAME = "gateway.example.com"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
SEALED = {"content-type": "message/ohttp-req"}
RESOLVE_SINCE = (1, 27, 3)

needs_stream = pytest.mark.skipif(
    not STREAM_MODULE.exists(), reason="libnginx-mod-stream is not installed"
)


def nginx_version() -> tuple[int, ...]:
    """Return the version of nginx; nothing if there is none."""
    if NGINX is None:
        return ()
    done = subprocess.run([NGINX, "-v"], capture_output=True, text=True, check=True)
    return tuple(map(int, re.findall(r"\d+", done.stderr)[:3]))


class Sealed(http.server.BaseHTTPRequestHandler):
    """A gateway that answers anything with the address at which it was reached."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = self.connection.getsockname()[0].encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class HandshakesRefused(http.server.ThreadingHTTPServer):
    """A server whose clients hang up when they see its certificate, which is no error here."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback."""


@contextlib.contextmanager
def tls_gateway(
    authority: trustme.CA, name: str = NAME, address: tuple[str, int] = ("127.0.0.1", 0)
) -> Iterator[int]:
    """Run a gateway that shows a certificate of `authority` for `name`; give its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with HandshakesRefused(address, Sealed) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def ask(relay: str) -> httpx.Response:
    """Send a sealed request."""
    return httpx.post(relay, content=b"sealed", headers=SEALED, timeout=300, trust_env=False)


RELAYS = [
    pytest.param(nginx_relay, id="nginx", marks=needs_nginx),
    pytest.param(haproxy_relay, id="haproxy", marks=needs_haproxy),
]


@pytest.mark.parametrize("relay", RELAYS)
@pytest.mark.parametrize(
    ("name", "trusted", "statuses"),
    [(NAME, True, (200,)), (NAME, False, (502, 503)), ("other.example.com", True, (502, 503))],
)
def test_a_relay_verifies_its_gateway(
    tmp_path: Path,
    relay: Callable[..., AbstractContextManager[str]],
    name: str,
    trusted: bool,
    statuses: tuple[int, ...],
) -> None:
    authority = trustme.CA()
    known = authority if trusted else trustme.CA()
    with (
        tls_gateway(authority, name) as port,
        relay(f"https://127.0.0.1:{port}", tmp_path / "relay", known) as url,
    ):
        assert ask(url).status_code in statuses


# Finding the gateway -------------------------------------------------------------------------


@contextlib.contextmanager
def gateways(authority: trustme.CA) -> Iterator[int]:
    """Run two gateways, at 127.0.0.1 and 127.0.0.2; give the port of both."""
    with (
        tls_gateway(authority, address=("127.0.0.2", 0)) as port,
        tls_gateway(authority, address=("127.0.0.1", port)),
    ):
        yield port


def replaced(path: Path, *places: tuple[str, str]) -> str:
    """Return the text of a file with each place, which must be there, replaced."""
    text = path.read_text()
    for theirs, ours in places:
        text, count = re.subn(theirs, ours, text)
        assert count, theirs
    return text


def copy_site(folder: Path, authority: trustme.CA, listen: str, gateway: tuple[str, str]) -> None:
    """Copy nginx's site as it is shipped into `folder`, its places moved there."""
    site = folder / "oblivious-relay"
    shutil.copytree(DEPLOY / "oblivious-relay", site)
    authority.cert_pem.write_to_path(str(folder / "authorities.pem"))
    authority.issue_cert("relay.example.com").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "relay.pem")
    )
    relay = replaced(DEPLOY / "relay-nginx.conf", (r"127\.0\.0\.1:8482", f"unix:{folder}/own"))
    (folder / "relay-nginx.conf").write_text(relay)
    for name, places in (
        ("gateway.conf", [gateway, (r"/etc/\S+\.crt", f"{folder}/authorities.pem")]),
        ("gateway.conf", [(r"/var/cache/nginx-oblivious-(\S+)", rf"{folder}/\1")]),
        ("listen.conf", [(r"/etc/\S+\.pem", f"{folder}/relay.pem"), (r"listen 443", listen)]),
        ("listen.conf", [(r"listen \[::\]:443", f"listen unix:{folder}/v6")]),
    ):
        (site / name).write_text(replaced(site / name, *places))


def nginx_that_resolves_in_a_stream(folder: Path, names: NameServer, port: int) -> str:
    """Have the site as it is shipped; return what is before its http block."""
    path = folder / "oblivious-relay" / "resolving.conf"
    text = replaced(
        path,
        (r"127\.0\.0\.53", f"127.0.0.1:{names.port}"),
        (r":443;", f":{port};"),
        (r"127\.0\.0\.1:8481", f"unix:{folder}/gateway"),
    )
    path.write_text(text)
    return f"load_module {STREAM_MODULE}; include oblivious-relay/resolving.conf;"


@contextlib.contextmanager
def nginx_by_name(
    folder: Path, authority: trustme.CA, names: NameServer, port: int
) -> Iterator[str]:
    """Run nginx with the site as it is shipped, for a gateway that `names` knows."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = f"127.0.0.1:{listener.getsockname()[1]}"
        gateway = (r"127\.0\.0\.1:8481", f"unix:{folder}/gateway")
        copy_site(folder, authority, f"listen {own}", gateway)
        before = nginx_that_resolves_in_a_stream(folder, names, port)
        with nginx(folder, listener, "include relay-nginx.conf;", before):
            yield f"https://{own}"


SHORTER_WAY = """zone oblivious_gateway 64k;
    resolver 127.0.0.1:{names};
    server gateway.example.com:{port} resolve;"""


@contextlib.contextmanager
def nginx_with_resolve(
    folder: Path, authority: trustme.CA, names: NameServer, port: int
) -> Iterator[str]:
    """The same in the way that newer versions of nginx have."""
    for line in ("zone oblivious_gateway 64k;", "server gateway.example.com:443 resolve;"):
        assert line in (DEPLOY / "oblivious-relay" / "gateway.conf").read_text()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        own = f"127.0.0.1:{listener.getsockname()[1]}"
        way = SHORTER_WAY.format(names=names.port, port=port)
        copy_site(folder, authority, f"listen {own}", (r"server 127\.0\.0\.1:8481;", way))
        with nginx(folder, listener, "include relay-nginx.conf;"):
            yield f"https://{own}"


@contextlib.contextmanager
def haproxy_by_name(
    folder: Path, authority: trustme.CA, names: NameServer, port: int
) -> Iterator[str]:
    """Run HAProxy as it is shipped, for a gateway that `names` knows."""
    authority.cert_pem.write_to_path(str(folder / "authorities.pem"))
    authority.issue_cert("relay.example.com").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "relay.pem")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gateway = f"https://{NAME}:{port}"
        text = site(folder, listener, gateway, client_tls=True, gateway_tls=True)
        known = f"nameserver names 127.0.0.1:{names.port}\n    hold valid 1s"
        text, count = re.subn(r"parse-resolv-conf\n    hold valid 30s", known, text)
        assert count == 1
        with haproxy(folder, listener, text):
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"


def answered_from(relay: str, authority: trustme.CA) -> str:
    """Return the address of the gateway that answers; nothing if none does."""
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    with httpx.Client(verify=context, trust_env=False, timeout=300) as client:
        answer = client.post(
            relay, content=b"sealed", headers=SEALED, extensions={"sni_hostname": RELAY}
        )
    return answer.text if answer.status_code == 200 else ""


RELAY = "relay.example.com"
BY_NAME = [
    pytest.param(nginx_by_name, id="nginx", marks=[needs_nginx, needs_stream]),
    pytest.param(haproxy_by_name, id="haproxy", marks=needs_haproxy),
    pytest.param(
        nginx_with_resolve,
        id="nginx-resolve",
        marks=pytest.mark.skipif(
            nginx_version() < RESOLVE_SINCE, reason="this nginx knows no `resolve` of a server"
        ),
    ),
]


@pytest.mark.parametrize("relay", BY_NAME)
def test_a_relay_starts_without_names_and_follows_a_gateway_that_moves(
    tmp_path: Path, relay: Callable[..., AbstractContextManager[str]]
) -> None:
    authority = trustme.CA()
    with (
        name_server() as names,
        gateways(authority) as port,
        relay(tmp_path, authority, names, port) as url,
    ):
        assert answered_from(url, authority) == ""
        for address in ("127.0.0.1", "127.0.0.2"):
            names.address = address
            deadline = time.monotonic() + DEADLINE_SECONDS
            while answered_from(url, authority) != address:
                assert time.monotonic() < deadline
                time.sleep(0.1)


@needs_nginx
@needs_stream
def test_the_site_that_is_shipped_is_one_that_nginx_takes(tmp_path: Path) -> None:
    authority = trustme.CA()
    with name_server() as names:
        gateway = (r"127\.0\.0\.1:8481", f"unix:{tmp_path}/gateway")
        copy_site(tmp_path, authority, f"listen unix:{tmp_path}/v4", gateway)
        before = nginx_that_resolves_in_a_stream(tmp_path, names, 443)
        conf = NGINX_CONF.format(
            user="", folder=tmp_path, before=before, http="include relay-nginx.conf;"
        )
        (tmp_path / "nginx.conf").write_text(conf)
        done = subprocess.run(
            [str(NGINX), "-t", "-p", f"{tmp_path}/", "-c", "nginx.conf", "-e", "stderr"],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr

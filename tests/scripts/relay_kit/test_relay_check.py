"""The relay check: both of our relays keep every property, and careless ones are found out."""

import contextlib
import http.server
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from tests.support.stack import (
    DEPLOY,
    NGINX,
    NGINX_CONF,
    Tap,
    careless_relay,
    needs_nginx,
    nginx_relay,
    reference_relay,
)

PROGRAM = Path(__file__).resolve().parents[3] / "scripts" / "relay_check"
ALL = 18
PATIENT = ("--deadline", "120")  # with a machine that is busy; what passes needs a second


def check(relay: str, gateway: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the check of `relay` with its recording gateway at the socket `gateway`."""
    listen = ["--gateway-listen", f"unix:{gateway}"]
    command = [sys.executable, str(PROGRAM), *listen, *options, relay]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, bool]:
    """Return what passed, by name."""
    report: dict[str, Any] = json.loads(done.stdout)
    found = {entry["name"]: entry["passed"] for entry in report["checks"]}
    assert report["passed"] == all(found.values()) == (done.returncode == 0)
    assert len(found) == ALL
    return found


def test_the_reference_relay_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with reference_relay(f"unix:{gateway}") as relay:
        done = check(relay, gateway, *PATIENT)
    assert done.returncode == 0, done.stdout
    assert f"{ALL} of {ALL} properties hold" in done.stdout
    assert "FAIL" not in done.stdout
    assert done.stderr == f"gateway for the relay under test: unix:{gateway}\n"


@needs_nginx
def test_nginx_as_deployed_keeps_every_property(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with nginx_relay(f"unix:{gateway}", tmp_path / "nginx") as relay:
        done = check(relay, gateway, "--json", *PATIENT)
    failed = [name for name, passed in verdicts(done).items() if not passed]
    assert failed == [], done.stdout


def test_a_relay_that_passes_everything_is_found_out(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with Tap(f"unix:{gateway}") as tap:
        relay = tap.address.replace("tcp://", "http://")
        done = check(relay, gateway, "--json", *PATIENT)
    passed = {name for name, passed in verdicts(done).items() if passed}
    assert passed == {
        "body_unchanged",
        "address_hidden",
        "upload_streams",
        "answer_streams",
        "large_bodies",
        "errors_pass",
        "truncation_shows",
        "sent_once",
        "hanging_up_passes",
    }


@needs_nginx
def test_a_common_reverse_proxy_is_found_out(tmp_path: Path) -> None:
    gateway = tmp_path / "gateway.sock"
    with careless_relay(f"unix:{gateway}", tmp_path / "nginx") as relay:
        done = check(relay, gateway, "--json", "--deadline", "2")
    failed = {name for name, passed in verdicts(done).items() if not passed}
    assert failed >= {
        "only_needed_fields",
        "nothing_personal",
        "address_hidden",
        "clients_alike",
        "other_media_types",
        "other_methods",
        "other_paths",
        "upload_streams",
        "large_bodies",
        "marks_removed",
        "keys_kept",
        "evidence_kept",
    }


def test_where_nothing_listens_is_said_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:  # bound, so that nobody else can listen there
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        for relay in (f"unix:{tmp_path / 'nobody'}", dead):
            done = check(relay, tmp_path / "gateway.sock", "--wait", "0.2")
            _, first, *_, last = done.stderr.splitlines()
            assert done.returncode == 2
            assert first == "waiting 0 s more: nothing listens there"
            assert "No request came through the relay (nothing listens there)" in last


def test_a_relay_of_another_gateway_is_said_to_be_one(tmp_path: Path) -> None:
    with reference_relay(f"unix:{tmp_path / 'nobody'}") as relay:
        done = check(relay, tmp_path / "gateway.sock", "--wait", "0")
    assert done.returncode == 2
    assert "(it answers 502 by itself): point it at the gateway above" in done.stderr


@pytest.mark.parametrize("url", ["relay.example.com", "ftp://relay.example.com/"])
def test_a_wrong_url_is_said_to_be_one(tmp_path: Path, url: str) -> None:
    done = check(url, tmp_path / "gateway.sock")
    assert done.returncode == 2
    assert "is not the URL of a relay" in done.stderr


def test_an_address_that_cannot_be_listened_at_is_said_to_be_one(tmp_path: Path) -> None:
    done = check("http://127.0.0.1:9", tmp_path / "missing" / "gateway.sock")
    assert done.returncode == 2
    assert "Cannot listen at" in done.stderr


def test_what_is_no_address_is_said_to_be_none(tmp_path: Path) -> None:
    done = check("http://127.0.0.1:9", tmp_path / "unused", "--gateway-listen", "nonsense")
    assert done.returncode == 2
    assert "neither HOST:PORT nor unix:PATH" in done.stderr


@needs_nginx
def test_the_site_that_is_shipped_is_one_that_nginx_takes(tmp_path: Path) -> None:
    site = tmp_path / "oblivious-relay"
    shutil.copytree(DEPLOY / "oblivious-relay", site)
    shutil.copy(DEPLOY / "relay-nginx.conf", tmp_path)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "authorities.pem"))
    authority.issue_cert("relay.example.com").private_key_and_cert_chain_pem.write_to_path(
        str(tmp_path / "relay.pem")
    )
    replace(site / "gateway.conf", r"server gateway\.example\.com:443", "server 127.0.0.1:443")
    replace(site / "gateway.conf", r"/etc/\S+\.crt", f"{tmp_path}/authorities.pem")
    replace(site / "gateway.conf", r"/var/cache/\S+", f"{tmp_path}/cache")
    replace(site / "listen.conf", r"/etc/\S+\.pem", f"{tmp_path}/relay.pem")
    replace(site / "listen.conf", r"listen 443", f"listen unix:{tmp_path}/v4")  # it does listen
    replace(site / "listen.conf", r"listen \[::\]:443", f"listen unix:{tmp_path}/v6")
    conf = NGINX_CONF.format(user="", folder=tmp_path, http="include relay-nginx.conf;")
    (tmp_path / "nginx.conf").write_text(conf)
    done = subprocess.run(
        [str(NGINX), "-t", "-p", f"{tmp_path}/", "-c", "nginx.conf", "-e", "stderr"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def replace(path: Path, pattern: str, text: str) -> None:
    """Replace what must be there."""
    changed, count = re.subn(pattern, text, path.read_text())
    assert count > 0, pattern
    path.write_text(changed)


class Sealed(http.server.BaseHTTPRequestHandler):
    """A gateway that answers anything."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


class HandshakesRefused(http.server.ThreadingHTTPServer):
    """A server whose clients hang up when they see its certificate, which is no error here."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Print no traceback."""


@contextlib.contextmanager
def tls_gateway(authority: trustme.CA, name: str) -> Iterator[str]:
    """Run a gateway that shows a certificate of `authority` for `name`; give its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    with HandshakesRefused(("127.0.0.1", 0), Sealed) as server:
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@needs_nginx
@pytest.mark.parametrize(
    ("name", "trusted", "status"),
    [
        ("gateway.example.com", True, 200),
        ("gateway.example.com", False, 502),
        ("other.example.com", True, 502),
    ],
)
def test_nginx_verifies_its_gateway(tmp_path: Path, name: str, trusted: bool, status: int) -> None:
    authority = trustme.CA()
    known = authority if trusted else trustme.CA()
    with (
        tls_gateway(authority, name) as gateway,
        nginx_relay(gateway, tmp_path / "nginx", known) as relay,
    ):
        fields = {"content-type": "message/ohttp-req"}
        answer = httpx.post(relay, content=b"sealed", headers=fields, timeout=300, trust_env=False)
    assert answer.status_code == status

"""A real HAProxy with the relay's configuration as it is deployed."""

import contextlib
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.support.stack import DEADLINE_SECONDS, DEPLOY, server_of

HAPROXY = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin")

needs_haproxy = pytest.mark.skipif(HAPROXY is None, reason="haproxy is not installed")

CLIENT_TLS = " ssl crt /etc/haproxy/relay.pem alpn h2,http/1.1"
GATEWAY_TLS = (
    " ssl verify required ca-file @system-ca sni str(gateway.example.com)"
    " verifyhost gateway.example.com alpn http/1.1"
)
ACCOUNT = "    user haproxy\n    group haproxy\n"


def replace(text: str, theirs: str, ours: str) -> str:
    """Return `text` with the one `theirs` in it replaced."""
    assert text.count(theirs) == 1, theirs
    return text.replace(theirs, ours)


def site(
    folder: Path, listener: socket.socket, gateway: str, *, client_tls: bool, gateway_tls: bool
) -> str:
    """Return the configuration that is deployed, its places moved into `folder`."""
    text = replace((DEPLOY / "haproxy-relay.cfg").read_text(), ACCOUNT, "")
    text = replace(text, "bind :443 ", f"bind fd@{listener.fileno()} ")
    server = server_of(gateway).replace("unix:", "unix@")
    text = replace(text, "gateway.example.com:443", server)
    if not client_tls:
        text = replace(text, CLIENT_TLS, "")
    if not gateway_tls:
        text = replace(text, GATEWAY_TLS, "")
    text = text.replace("/etc/haproxy/", f"{folder}/")
    return text.replace("@system-ca", f"{folder}/authorities.pem")


@contextlib.contextmanager
def haproxy(folder: Path, listener: socket.socket, text: str) -> Iterator[None]:
    """Run HAProxy on `listener`; what connects before it is up waits in the listener's queue."""
    (folder / "haproxy.cfg").write_text(text)
    written = folder / "written"
    with written.open("w") as stream:
        process = subprocess.Popen(
            [str(HAPROXY), "-db", "-f", folder / "haproxy.cfg"],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=[listener.fileno()],
        )
        try:
            yield
            assert process.poll() is None, written.read_text()
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)
    # It writes nothing about clients, whose addresses would come with their ports.
    assert not re.search(r"127\.0\.0\.1:\d", written.read_text())


@contextlib.contextmanager
def haproxy_relay(
    gateway: str,
    folder: Path,
    authority: trustme.CA | None = None,
    certificate: trustme.LeafCert | None = None,
) -> Iterator[str]:
    """Run HAProxy as it is deployed; give its URL.

    The gateway is reached over TLS if there is an `authority` to verify it by, the relay if there
    is a `certificate` for it to show.
    """
    folder.mkdir()
    (authority or trustme.CA()).cert_pem.write_to_path(str(folder / "authorities.pem"))
    if certificate is not None:
        certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "relay.pem"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        tls = {"client_tls": certificate is not None, "gateway_tls": authority is not None}
        with haproxy(folder, listener, site(folder, listener, gateway, **tls)):
            scheme = "http" if certificate is None else "https"
            yield f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

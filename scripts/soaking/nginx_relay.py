"""nginx as it is deployed as a relay, on a port of this machine and without TLS."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import certifi

from scripts.local.stack import ROOT, StackError

DEPLOY = ROOT / "scripts" / "deploy"
OWN_PORT = "127.0.0.1:8482"  # of the configuration, for that nginx alone: a socket here

CONFIGURATION = """
{user}
daemon off;
worker_processes 2;
pid {folder}/pid;
error_log stderr emerg;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include relay-nginx.conf;
}}
"""

GATEWAY = """
upstream oblivious_gateway {{
    server {gateway};
    keepalive 1024;
    keepalive_timeout 30s;
}}
map "" $oblivious_gateway_name {{ default gateway.example.com; }}
map "" $oblivious_gateway_scheme {{ default http; }}
proxy_ssl_trusted_certificate {authorities};
proxy_cache_path {folder}/cache keys_zone=oblivious_relay:1m;
proxy_cache_path {folder}/renewed keys_zone=oblivious_renewed:1m inactive=10s;
"""


def command(folder: Path, listen: str, gateway: str) -> list[str]:
    """Install the configuration in `folder`; return the command that runs it; raises StackError.

    `listen` is HOST:PORT, `gateway` an http:// URL.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise StackError("nginx is not installed")
    shutil.rmtree(folder, ignore_errors=True)
    site = folder / "oblivious-relay"
    site.mkdir(parents=True)
    shutil.copy(DEPLOY / "oblivious-relay" / "copy.conf", site)
    own = (DEPLOY / "relay-nginx.conf").read_text()
    (folder / "relay-nginx.conf").write_text(own.replace(OWN_PORT, f"unix:{folder}/own"))
    (site / "listen.conf").write_text(f"listen {listen};\n")
    server = gateway.removeprefix("http://")
    text = GATEWAY.format(gateway=server, authorities=certifi.where(), folder=folder)
    (site / "gateway.conf").write_text(text)
    user = "user root;" if os.geteuid() == 0 else ""  # to reach what is in a private folder
    (folder / "nginx.conf").write_text(CONFIGURATION.format(user=user, folder=folder))
    return [program, "-p", f"{folder}/", "-c", "nginx.conf", "-e", "stderr"]


def free_address() -> str:
    """Return HOST:PORT of a port that nobody listens at now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


def answers(address: str) -> bool:
    """Whether somebody takes connections at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True

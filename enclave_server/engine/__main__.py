"""The embedded model's process: llama.cpp's server (xllamacpp) on a Unix socket of mode 0600.

Nothing of a prompt stays behind: no caches, no slot listing, no logs, no core dump.
"""

import argparse
import ctypes
import importlib
import os
import resource
import signal
import sys
from typing import Any

from enclave_server.engine.child import Problem, Weights, preflight
from enclave_server.hardening import protect_memory

PR_SET_PDEATHSIG = 1  # linux/prctl.h

SOCKET_UMASK = 0o177

# Of the engine's threads for connections, those that the workers' requests cannot take.
SPARE_CONNECTIONS = 16

MIB = 1 << 20
M_ARENA_MAX = -8  # malloc.h

SETTINGS = {
    "n_parallel": 2,
    "n_ctx": 4096,  # of both together
    "n_batch": 128,  # between two batches it looks whether the request was cancelled
    "n_ubatch": 128,
    "cache_prompt": False,
    "cache_ram_mib": 0,
    "cache_idle_slots": False,
    "n_ctx_checkpoints": 0,
    "endpoint_slots": False,
    "endpoint_props": False,
    "endpoint_metrics": True,  # counts alone, by which its parent sees that it gets on
    "ui": False,
    "verbosity": 0,  # 5 would print prompts
    "offline": True,
}

# Where the request names none: sampled at the usual 0.8, so small a model misses what it knows.
TEMPERATURE = 0.0


def main() -> int:
    """Serve until killed; return an exit status of `Problem` if that is impossible."""
    options = _parser().parse_args()
    if not _die_with(options.parent):
        return 1
    protect_memory()  # an exec undoes what the parent did
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    os.umask(SOCKET_UMASK)
    weights = Weights(options.model, options.sha256)
    problem = preflight(weights)
    if problem is None and not weights.intact():
        problem = Problem.ALTERED_WEIGHTS
    if problem is not None:
        return problem
    _limit_memory(options.memory_mib * MIB)
    server = serve(options.model, options.socket, options.threads, options.connections)
    os.write(options.ready, b"\1")
    os.close(options.ready)
    while server is not None:
        signal.pause()
    return 0


def serve(model: str, socket_path: str, threads: int, connections: int) -> Any:
    """Start the server's threads and return what keeps them alive."""
    # Loaded after the checks, because it needs what they look for; it has no type hints.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = [socket_path]  # a name that ends in .sock is a path
    params.sampling.temp = TEMPERATURE
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # Each connection occupies a thread.
    settings = {**SETTINGS, "n_threads_http": connections + SPARE_CONNECTIONS}
    for name, value in settings.items():
        if not hasattr(params, name):  # a misspelt or removed setting must not be lost
            raise AttributeError(name)
        setattr(params, name, value)
    return xllamacpp.Server(params)


def _limit_memory(octets: int) -> None:
    """Let an allocation beyond `octets` of address space fail, which ends this process alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)  # each takes 64 MiB of it, and there would be one for each thread
    resource.setrlimit(resource.RLIMIT_AS, (octets, octets))


def _die_with(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; False if it already has."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    return os.getppid() == parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The embedded model's process.")
    parser.add_argument("--socket", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sha256", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--connections", type=int, required=True)
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())

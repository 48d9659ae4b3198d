"""The embedded model's process: llama.cpp's server (xllamacpp) on a Unix socket of mode 0600.

Nothing of a prompt stays behind: no caches, no slot listing, no logs, no core dump.
"""

import argparse
import ctypes
import importlib
import os
import signal
import sys
from typing import Any

from enclave_server.engine.child import Problem, Weights, preflight
from enclave_server.hardening import protect_memory

PR_SET_PDEATHSIG = 1  # linux/prctl.h

SOCKET_UMASK = 0o177

SETTINGS = {
    "n_parallel": 2,
    "n_ctx": 4096,  # of both together
    "n_batch": 128,  # between two batches it looks whether the request was cancelled
    "n_ubatch": 128,
    "n_threads_http": 64,  # each connection occupies one
    "cache_prompt": False,
    "cache_ram_mib": 0,
    "cache_idle_slots": False,
    "n_ctx_checkpoints": 0,
    "endpoint_slots": False,
    "endpoint_props": False,
    "endpoint_metrics": False,
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
    server = serve(options.model, options.socket, options.threads)
    os.write(options.ready, b"\1")
    os.close(options.ready)
    while server is not None:
        signal.pause()
    return 0


def serve(model: str, socket_path: str, threads: int) -> Any:
    """Start the server's threads and return what keeps them alive."""
    # Loaded after the checks, because it needs what they look for; it has no type hints.
    xllamacpp: Any = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = [socket_path]  # a name that ends in .sock is a path
    params.sampling.temp = TEMPERATURE
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    for name, value in SETTINGS.items():
        if not hasattr(params, name):  # a misspelt or removed setting must not be lost
            raise AttributeError(name)
        setattr(params, name, value)
    return xllamacpp.Server(params)


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
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--ready", type=int, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())

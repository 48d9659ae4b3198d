"""The command `host-proxy`."""

import gc
import os
import resource
import sys
from collections.abc import Sequence
from functools import partial
from typing import Final

from host_proxy.addresses import AddressError, ListenError
from host_proxy.front import Front
from host_proxy.log import log
from host_proxy.options import Options, from_command_line
from host_proxy.pipes import PIPES
from host_proxy.proxy import Proxy
from host_proxy.service import Service
from host_proxy.systemd import Notifier, passed_sockets, watchdog_seconds
from host_proxy.watch import Watch

OWN_DESCRIPTORS: Final = 64 + 2 * PIPES  # listeners, pipes, the interpreter's own


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry, probe or front as the options say, and return the exit code."""
    try:
        process = _open(sys.argv[1:] if arguments is None else arguments)
    except AddressError as error:
        return _say(f"{error} (see host-proxy --help)", 2)
    except ListenError as error:
        return _say(str(error), 1)
    gc.freeze()  # what is here now stays: the collector need not look at it again
    return process.run()


def _open(arguments: Sequence[str]) -> Proxy | Watch | Front:
    options = from_command_line(arguments)
    _raise_descriptor_limit(options)
    process = _process(options)
    process.open()
    return process


def _process(options: Options) -> Proxy | Watch | Front:
    """Return what carries, or asks with --probe or --front; for systemd they are alike."""
    passed, notifier = passed_sockets(os.environ), Notifier(os.environ)
    watchdog = watchdog_seconds(os.environ)
    service = partial(
        Service, metrics=options.metrics, passed=passed, notifier=notifier, watchdog=watchdog
    )
    if options.front is not None:
        return Front(options.front, options.front_seconds, service())
    if options.questions is not None:
        return Watch(options.questions, service())
    return Proxy(options, passed=passed, notifier=notifier, watchdog=watchdog)


def _say(sentence: str, code: int) -> int:
    sys.stderr.write(f"host-proxy: {sentence}\n")
    return code


def _raise_descriptor_limit(options: Options) -> None:
    """Make room for two sockets for each connection, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * options.connections + OWN_DESCRIPTORS
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft < wanted:
        log("few_descriptors", have=soft, wanted=wanted)

"""The command `enclave-server`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import msgspec

from enclave_server.addresses import parse_address
from enclave_server.config import Config, ConfigError, load_config
from enclave_server.log import Log
from enclave_server.processes.startup import ExitCode, StartError, check, serve
from enclave_server.security_module.nsm import DEVICE, NitroSecurityModule, NsmError, SecurityModule
from enclave_server.security_module.shared_root import shared_root
from enclave_server.security_module.simulated import SimulatedSecurityModule

USAGE = """\
enclave-server: answers sealed chat requests, inside an attested enclave.

Usage:
    enclave-server [--listen ADDRESS] [--config FILE] [--workers N]
                   [--nsm DEVICE | --simulated-nsm | --simulated-root FILE]
    enclave-server --check-config [--config FILE]

Options:
    --listen ADDRESS   where to accept connections (default vsock://any:5000):
                       vsock://any:PORT, tcp://HOST:PORT or unix:PATH
    --config FILE      settings in TOML; without a file the embedded model is served
    --workers N        processes that share the address and the keys (default 1)
    --nsm DEVICE       the security module (default /dev/nsm, where there is one);
                       fd:NUMBER takes a descriptor that is open already
    --simulated-nsm    evidence that proves nothing, under a throw-away root;
                       the default where there is no /dev/nsm
    --simulated-root FILE
                       the same under the root in FILE, which is made if it is not
                       there: for a cluster, whose enclaves are under one root
    --check-config     find out whether a server with these settings would start, and
                       end: for the build of an image, where the embedded model has to be
                       in place and nothing else of the machine matters
    --help             this text

An option takes precedence over the file. The log is on standard error, one JSON
object a line; the line with "event": "ready" comes when requests are answered.

SIGTERM and SIGINT end the server: it finishes what it is doing for the grace time of
the settings (10 seconds) and exits; a second one ends it at once. SIGHUP, SIGUSR1
and SIGUSR2 do nothing: the settings are read once.

Exit status:
    0  it was told to end             4  the security module or the kernel gives no
    1  it failed while it ran            evidence or no randomness
    2  wrong usage or settings        5  the clock is plainly wrong
    3  the address cannot be used     6  the embedded model cannot be run
"""


class _Parser(argparse.ArgumentParser):
    """An argument parser that speaks in one sentence."""

    def error(self, message: str) -> NoReturn:
        raise StartError(ExitCode.USAGE, f"{message}; see enclave-server --help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is told to end; return the exit status."""
    try:
        options = _parse(arguments)
        if options.help:
            sys.stdout.write(USAGE)
            return ExitCode.ENDED
        config = _config(options)
        if options.check_config:
            check(config)
            return ExitCode.ENDED
        serve(config, _module(options), Log())
    except StartError as error:
        sys.stderr.write(f"enclave-server: {error}\n")
        return error.code
    return ExitCode.ENDED


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="enclave-server", add_help=False, allow_abbrev=False)
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--listen")
    parser.add_argument("--config")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--check-config", action="store_true")
    modules = parser.add_mutually_exclusive_group()
    modules.add_argument("--nsm")
    modules.add_argument("--simulated-nsm", action="store_true")
    modules.add_argument("--simulated-root")
    return parser.parse_args(arguments)


def _config(options: argparse.Namespace) -> Config:
    """Return the settings of the file, with what the command line says instead."""
    try:
        config = load_config(options.config)
        server = config.server
        if options.listen is not None:
            parse_address(options.listen)
            server = msgspec.structs.replace(server, listen=options.listen)
        if options.workers is not None:
            server = msgspec.structs.replace(server, workers=options.workers)
        return msgspec.structs.replace(config, server=server)
    except (ConfigError, ValueError) as error:
        raise StartError(ExitCode.USAGE, f"{error}; see enclave-server --help") from error


def _module(options: argparse.Namespace) -> SecurityModule:
    if options.simulated_root is not None:
        return _simulated_under(Path(options.simulated_root))
    device = options.nsm or DEVICE
    if options.simulated_nsm or (options.nsm is None and not Path(device).exists()):
        return SimulatedSecurityModule()
    try:
        return NitroSecurityModule(device)
    except NsmError as error:
        raise StartError(
            ExitCode.MODULE, f"{device}: {error}; name another with --nsm, or use --simulated-nsm"
        ) from error


def _simulated_under(file: Path) -> SecurityModule:
    try:
        return SimulatedSecurityModule(root=shared_root(file))
    except (OSError, ValueError) as error:
        raise StartError(
            ExitCode.USAGE, f"{file} has no simulated root and none can be put there: {error}"
        ) from error

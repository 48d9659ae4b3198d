"""The command line and the configuration file, checked before anything is opened."""

import argparse
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, NoReturn

from host_proxy.addresses import (
    ANY_CID,
    Activated,
    Address,
    AddressError,
    Vsock,
    parse,
    parse_host_port,
)

USAGE: Final = """\
host-proxy --listen tcp://127.0.0.1:8443 --connect vsock://16:5000
       host-proxy --egress vsock://3:8001=api.example.com:443 [--egress …]
       host-proxy --probe 2 --connect vsock://16:5000
       host-proxy --front unix:/run/haproxy/oblivious.sock
       host-proxy --config FILE

Carries bytes between TCP, Unix and vsock sockets. It reads none of them and adds none.
With --probe it carries nothing: it asks `GET /health`, and ends when nobody answers any more.
With --front it carries nothing either: it keeps the map by which an HAProxy before several enclaves
finds the one that has a request's key.

addresses:
  tcp://HOST:PORT       listens on a numeric HOST only
  unix:PATH
  vsock://CID:PORT      listen on vsock://any:PORT or a CID of this machine (3 is the parent)
  vsock-uds:PATH:PORT   connect: `CONNECT PORT` to PATH, as Firecracker and vhost-device-vsock
                        want it; listen: the guest's own connections, at PATH_PORT
  systemd:NAME          listen on the socket that systemd passed under this FileDescriptorName
"""

MOST: Final = 10**9  # of seconds and counts: a clock that is told more overflows

EPILOG: Final = """\
An egress lets the enclave reach one host and port, and nothing else. The name is looked up every
few seconds while it is used; an address that was found serves for a minute if the name server
fails. The enclave itself ends the TLS, so that AWS's `vsock-proxy`, started as
`vsock-proxy 8001 api.example.com 443`, can stand in for one egress.
While the upstream of --connect is away, new clients wait --retry-seconds. Of all --connections
the ingress and each egress keep a share that the others cannot take.

A probe asks every --probe SECONDS over a connection of its own. Any HTTP status is a sign of life,
and so is an orderly close; the first tells systemd READY=1. After --probe-misses in a row without
one, or if the first has not come in --probe-start-seconds, it exits with 3, so that the unit which
runs the enclave ends.

A front's ADDRESS is HAProxy's runtime socket (level admin). Every --front-seconds it is asked for
its servers and its map, and each server for the enclave's keys. `set server oblivious_members/NAME
state drain` there has an enclave's list told no more, `state maint` takes it out.

The configuration file is TOML: the long options' names with underscores, and a table [egress]
of lines such as "vsock://3:8001" = "api.example.com:443". The command line overrides it.

signals:  SIGTERM, SIGINT  accept nothing more, let connections end for --grace-seconds, exit 0
          SIGUSR2          hold the ingress: leave clients to wait, let connections end, and stay
          SIGCONT          go on after a hold; one that is forgotten ends after 300 seconds
          SIGUSR1          write the counters to standard error
exit:     0 stopped by a signal; 1 an address cannot be listened on; 2 wrong options;
          3 the probe has no answer
"""


@dataclass(frozen=True, slots=True)
class Hole:
    """One permitted way out: where the enclave connects to, and the only place that leads to."""

    listen: Address
    target: Address


@dataclass(frozen=True, slots=True)
class Questions:
    """What to ask whether it lives, and when to give it up; times in seconds."""

    address: Address
    pause: float  # from one answer, or the lack of it, to the next question
    patience: float  # for the connection and the answer together
    misses: int  # in a row
    start: float  # for the first answer


@dataclass(frozen=True, slots=True)
class Options:
    """What the operator asked for; seconds and counts are positive, retry and grace may be 0."""

    listen: Address | None = None
    connect: Address | None = None
    egress: tuple[Hole, ...] = ()
    metrics: Address | None = None
    idle_seconds: float = 900.0  # longer than the slowest whole answer
    connect_seconds: float = 5.0
    retry_seconds: float = 5.0
    grace_seconds: float = 30.0
    quiet_seconds: float = 2.0  # longer than the tick of the enclave's streams
    connections: int = 4096
    probe: float | None = None  # seconds from one answer to the next question
    probe_misses: int = 3
    probe_start_seconds: float = 180.0  # a slow machine boots and loads a large model in less
    front: Address | None = None  # HAProxy's runtime socket
    front_seconds: float = 0.5  # a key is known for 2 s before it is listed

    def __post_init__(self) -> None:
        self._check_addresses()
        self._check_numbers()

    @property
    def routes(self) -> int:
        """How many listening sockets lead somewhere."""
        return (self.listen is not None) + len(self.egress)

    @property
    def questions(self) -> Questions | None:
        """What a probing process asks; None for one that carries."""
        if self.probe is None or self.connect is None:
            return None
        return Questions(
            self.connect,
            self.probe,
            self.connect_seconds,
            self.probe_misses,
            self.probe_start_seconds,
        )

    @property
    def _probing_and_fronting(self) -> tuple[float, ...]:
        return self.probe_misses, self.probe_start_seconds, self.front_seconds

    def _check_addresses(self) -> None:
        if self.front is not None:
            self._check_front()
        elif self.probe is not None:
            self._check_probe()
        elif (self.listen is None) != (self.connect is None):
            raise AddressError("--listen and --connect belong together")
        elif not self.routes:
            raise AddressError("nothing to do: give --listen and --connect, or --egress")
        for target in (self.connect, self.front, *(hole.target for hole in self.egress)):
            if isinstance(target, Activated) or (
                isinstance(target, Vsock) and target.cid == ANY_CID
            ):
                raise AddressError(f"{target} can only be listened on")

    def _check_probe(self) -> None:
        if self.connect is None or self.routes:
            raise AddressError("--probe wants --connect, and neither --listen nor --egress")

    def _check_front(self) -> None:
        if self.connect is not None or self.probe is not None or self.routes:
            raise AddressError("--front goes with --metrics and --front-seconds alone")

    def _check_numbers(self) -> None:
        positive = (self.idle_seconds, self.connect_seconds, self.quiet_seconds, self.connections)
        if min(*positive, *self._probing_and_fronting) <= 0:
            raise AddressError("times and counts must be greater than 0")
        if self.probe is not None and self.probe <= 0:
            raise AddressError("--probe must be greater than 0")
        if min(self.retry_seconds, self.grace_seconds) < 0:
            raise AddressError("times must not be negative")
        if self.connections < self.routes:
            raise AddressError("fewer --connections than routes: each needs at least one")


def from_command_line(arguments: Sequence[str]) -> Options:
    """Return the options, or raise AddressError; `--help` and unknown options exit."""
    given = vars(_parser().parse_args(arguments))
    config = given.pop("config", None)
    holes = [_hole(text) for text in given.pop("egress", [])]
    values = from_file(Path(config)) if config else {}
    values.update({name: _value(name, value) for name, value in given.items()})
    values["egress"] = (*values.get("egress", ()), *holes)
    return Options(**values)


def from_file(path: Path) -> dict[str, Any]:
    """Return the options that a TOML file sets, or raise AddressError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AddressError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are
        raise AddressError(f"{path} is not TOML: {error}") from error
    except RecursionError as error:
        raise AddressError(f"{path} has values that nest too deeply") from error
    unknown = table.keys() - {field.name for field in fields(Options)}
    if unknown:
        raise AddressError(f"{path}: unknown {', '.join(sorted(unknown))}")
    return {name: _value(name, value) for name, value in table.items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """End with one sentence; the usage would take a screen."""
        self.exit(2, f"host-proxy: {message} (see host-proxy --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="host-proxy",
        usage=USAGE,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("--listen", metavar="ADDRESS", help="where clients come")
    parser.add_argument("--connect", metavar="ADDRESS", help="where their bytes go")
    parser.add_argument(
        "--egress",
        metavar="LISTEN=HOST:PORT",
        action="append",
        help="one permitted way out; repeatable",
    )
    parser.add_argument("--config", metavar="FILE", help="options from a TOML file")
    parser.add_argument(
        "--metrics", metavar="ADDRESS", help="serve Prometheus text at http://ADDRESS/metrics"
    )
    parser.add_argument(
        "--front", metavar="ADDRESS", help="keep the map of the HAProxy whose runtime socket it is"
    )
    for name, meaning in _NUMBERS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=int if name in _COUNTS else float,
            metavar="N",
            help=f"{meaning} (default {_DEFAULTS[name]:g})",
        )
    parser.add_argument(
        "--probe", type=float, metavar="SECONDS", help="ask whether the upstream lives"
    )
    return parser


def _value(name: str, value: object) -> Any:
    """Return the value of one option as Options holds it, or raise AddressError."""
    if name in _NUMBERS or name == "probe":
        kinds = (int,) if name in _COUNTS else (int, float)
        if isinstance(value, kinds) and not isinstance(value, bool):
            if not abs(value) <= MOST:  # nor is NaN
                raise AddressError(f"{name} is not a number up to {MOST}")
            return value
    elif name == "egress":
        if isinstance(value, Mapping):
            return tuple(_hole(f"{listen}={target}") for listen, target in value.items())
    elif isinstance(value, str):
        return parse(value)
    raise AddressError(f"{name} cannot be {value!r}")


def _hole(text: str) -> Hole:
    """Return the egress of `LISTEN=HOST:PORT`; for trials the target may be any address."""
    listen, equals, target = text.rpartition("=")
    if not equals:
        raise AddressError(f"{text!r} is not LISTEN=HOST:PORT")
    if target.startswith(("tcp://", "unix:", "vsock://", "vsock-uds:")):
        return Hole(parse(listen), parse(target))
    return Hole(parse(listen), parse_host_port(target))


_NUMBERS: Final = {
    "idle_seconds": "end a connection on which nothing moves for so long",
    "connect_seconds": "for one attempt: the look-up and the connection, each",
    "retry_seconds": "keep a client waiting while the upstream of --connect is away",
    "grace_seconds": "for connections to end after SIGTERM or SIGUSR2",
    "quiet_seconds": "then end one that is silent after its answer for so long",
    "connections": "at most so many at once",
    "probe_misses": "end after so many questions in a row without an answer",
    "probe_start_seconds": "end when the first answer has not come in so long",
    "front_seconds": "from one round of a front to the next",
}
_COUNTS: Final = frozenset(("connections", "probe_misses"))
_DEFAULTS: Final = {field.name: field.default for field in fields(Options)}

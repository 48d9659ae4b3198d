"""What counts of a setting: the command line, then the environment, then `config.toml`."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from oblivious_client import configuration
from oblivious_client.configuration import Configuration

COMMAND_LINE = "the command line"
DEFAULT = "default"
NOTHING = "nothing says so"


@dataclass(frozen=True, slots=True)
class Found:
    """A value, and where it comes from."""

    value: str | Sequence[str] | None
    source: str

    @property
    def text(self) -> str | None:
        """The value of a setting that is one text."""
        return None if self.value is None else str(self.value)


_NONE = Found(None, NOTHING)


def single(options: argparse.Namespace, name: str) -> Found:
    """Return what the uppermost layer says that names this setting."""
    named, (said, path) = _said_now(options, name), _configured()
    if named.value is None and (value := getattr(said, name)):
        return Found(value, path)
    return named


def where(options: argparse.Namespace) -> tuple[Found, Found]:
    """Return the relay, or several where the command takes several, and the gateway.

    Where a layer names one of them, what those below say of either does not count.
    """
    said, path = _configured()
    layers: tuple[tuple[Sequence[str] | str | None, str | None, str, str], ...] = (
        (options.relay, options.gateway, COMMAND_LINE, COMMAND_LINE),
        (os.environ.get("OBLIVIOUS_RELAY"), None, "OBLIVIOUS_RELAY", NOTHING),
        (None, os.environ.get("OBLIVIOUS_GATEWAY"), NOTHING, "OBLIVIOUS_GATEWAY"),
        (said.relay, said.gateway, path, path),
    )
    for relay, gateway, of_relay, of_gateway in layers:
        if relay or gateway:
            return (
                Found(relay or None, of_relay if relay else NOTHING),
                Found(gateway or None, of_gateway if gateway else NOTHING),
            )
    return _NONE, _NONE


def demanded(options: argparse.Namespace) -> tuple[Found, Found]:
    """Return the file of measurements, or that of who is trusted: at most one of them counts.

    What is said now counts, and of that the measurements: who pins takes nobody's word. The file
    counts where nothing is said, and its measurements not for who names a list of releases.
    """
    pins, trusted = (_said_now(options, name) for name in ("pcrs", "trust"))
    if pins.value is not None:
        return pins, _NONE
    if trusted.value is not None:
        return _NONE, trusted
    said, path = _configured()
    if said.pcrs and options.releases is None:
        return Found(said.pcrs, path), _NONE
    return _NONE, Found(said.trust, path) if said.trust else _NONE


def mirrored(options: argparse.Namespace) -> dict[str, Found]:
    """Return what is said of mirrors: which, how many, of which gateway, what if they are silent.

    Who names mirrors now means those alone, and nothing that the file wants of its own; who does
    not may still say something else of the file's.
    """
    said, path = _configured()
    is_named = bool(options.mirror)
    now = {
        "mirror": tuple(key.encode() for key in options.mirror or ()),
        "mirrors": options.mirrors and str(options.mirrors),
        "mirror_of": options.mirror_of,
        "mirror_down": options.mirror_down,
    }
    found = {}
    for name, value in now.items():
        kept = None if is_named or not said.mirror else getattr(said, name)
        below = Found(str(kept) if isinstance(kept, int) else kept, path) if kept else _NONE
        found[name] = Found(value, COMMAND_LINE) if value else below
    return found


def _said_now(options: argparse.Namespace, name: str) -> Found:
    """Return what the command line says, or the environment."""
    variable = f"OBLIVIOUS_{name.upper()}"
    layers = ((getattr(options, name, None), COMMAND_LINE), (os.environ.get(variable), variable))
    return next((Found(value, source) for value, source in layers if value), _NONE)


def _configured() -> tuple[Configuration, str]:
    path = configuration.place()
    return configuration.read(path), str(path)

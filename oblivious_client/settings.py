"""What the options come to, with what environment and configuration file say below them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from oblivious_client import configuration, places, release_settings
from oblivious_client.cache import EvidenceCache, default_directory
from oblivious_client.configuration import Configuration
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.errors import UsageError
from oblivious_client.framing import Framing
from oblivious_client.policy import Policy, Simulated, read_releases, read_root
from oblivious_client.proxies import proxy_address
from oblivious_client.releases.source import Releases
from oblivious_client.route import Route
from oblivious_client.wallet import Wallet

COMMAND_LINE = "the command line"
DEFAULT = "default"
_NOTHING = "nothing says so"


@dataclass(frozen=True, slots=True)
class Found:
    """A value, and where it comes from."""

    value: str | Sequence[str] | None
    source: str


def found(options: argparse.Namespace) -> dict[str, Found]:
    """Return each setting with its source: the command line, then the environment, then the file.

    Where one of them names a relay or a gateway, what those below say of either does not count.
    """
    said, path = _configured()
    relay, gateway = _where(options, said, str(path))
    rest = {
        name: _layered(getattr(options, name, None), name, getattr(said, name), str(path))
        for name in ("proxy", "pcrs", "model")
    }
    if rest["model"].value is None:
        rest["model"] = Found(DEFAULT_MODEL, DEFAULT)
    return {"relay": relay, "gateway": gateway, **rest}


def addresses(
    options: argparse.Namespace,
) -> tuple[str | Sequence[str] | None, str | None]:
    """Return the relay, or several where the command takes several, and the gateway."""
    relay, gateway = _where(options, *_configured())
    return relay.value, None if gateway.value is None else str(gateway.value)


def pcrs(options: argparse.Namespace) -> str | None:
    """Return the file of measurements, if one is named."""
    return _text(options, "pcrs")


def proxy(options: argparse.Namespace) -> str | None:
    """Return the proxy, if one is named; raises UsageError where the environment's is none."""
    address = _text(options, "proxy")
    try:
        return None if address is None else proxy_address(address)
    except ValueError as error:
        raise UsageError(
            "OBLIVIOUS_PROXY is not the address of a proxy",
            advice="write http://[NAME:WORD@]HOST:PORT, or unset it",
        ) from error


def policy(options: argparse.Namespace) -> Policy:
    """Return what is demanded of the evidence."""
    named = pcrs(options)
    first, *also = read_releases(Path(named)) if named else (None,)
    return Policy(
        pcrs=first,
        also=tuple(also),
        simulated=Simulated.ALLOWED if options.allow_simulated else Simulated.REFUSED,
        max_age=options.max_age,
        root=read_root(options.root) if options.root else None,
    )


def route(
    options: argparse.Namespace,
    framing: Framing = Framing.CHUNKED,
    releases: Releases | None = None,
) -> Route:
    """Return the route that questions take: by the first relay, if several are named."""
    return next(iter(_routes(options, framing, releases)))


def routes(options: argparse.Namespace) -> list[Route]:
    """Return the routes of who may name several relays, in the order in which they are tried.

    They rely on one list of releases, wherever the newest one comes from.
    """
    return _routes(options, Framing.CHUNKED, release_settings.releases(options))


def wallet(options: argparse.Namespace) -> Wallet:
    """Return the wallet of the command line, of the environment, or of this user."""
    named = options.wallet or os.environ.get("OBLIVIOUS_WALLET")
    return Wallet(Path(named) if named else places.data() / "wallet.sqlite3")


def model(options: argparse.Namespace) -> str:
    """Return the model to ask."""
    return _text(options, "model") or DEFAULT_MODEL


def _configured() -> tuple[Configuration, str]:
    path = configuration.place()
    return configuration.read(path), str(path)


def _where(options: argparse.Namespace, said: Configuration, path: str) -> tuple[Found, Found]:
    layers: tuple[tuple[Sequence[str] | str | None, str | None, str, str], ...] = (
        (options.relay, options.gateway, COMMAND_LINE, COMMAND_LINE),
        (os.environ.get("OBLIVIOUS_RELAY"), None, "OBLIVIOUS_RELAY", _NOTHING),
        (None, os.environ.get("OBLIVIOUS_GATEWAY"), _NOTHING, "OBLIVIOUS_GATEWAY"),
        (said.relay, said.gateway, path, path),
    )
    for relay, gateway, of_relay, of_gateway in layers:
        if relay or gateway:
            return (
                Found(relay or None, of_relay if relay else _NOTHING),
                Found(gateway or None, of_gateway if gateway else _NOTHING),
            )
    return Found(None, _NOTHING), Found(None, _NOTHING)


def _layered(option: str | None, name: str, said: str | None, path: str) -> Found:
    variable = f"OBLIVIOUS_{name.upper()}"
    layers = ((option, COMMAND_LINE), (os.environ.get(variable), variable), (said, path))
    return next((Found(value, source) for value, source in layers if value), Found(None, _NOTHING))


def _text(options: argparse.Namespace, name: str) -> str | None:
    said, path = _configured()
    value = _layered(getattr(options, name, None), name, getattr(said, name), path).value
    return None if value is None else str(value)


def _routes(
    options: argparse.Namespace, framing: Framing, releases: Releases | None
) -> list[Route]:
    relays, gateway = addresses(options)
    named: Sequence[str | None] = [relays] if relays is None or isinstance(relays, str) else relays
    mirrors = release_settings.mirrors(options)
    return [
        Route(
            relay,
            gateway=gateway,
            policy=policy(options),
            framing=framing,
            # What lies in the cache may have been verified without mirrors.
            cache=None if options.no_cache or mirrors else EvidenceCache(default_directory()),
            proxy=proxy(options),
            wallet=wallet(options) if "wallet" in options else None,
            max_price=getattr(options, "max_price", None),
            releases=releases,
            mirrors=mirrors,
        )
        for relay in dict.fromkeys(named)
    ]

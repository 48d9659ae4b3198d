"""What the options come to, with what the environment says beside them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from oblivious_client import places, release_settings
from oblivious_client.cache import EvidenceCache, default_directory
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.framing import Framing
from oblivious_client.policy import Policy, Simulated, read_releases, read_root
from oblivious_client.releases.source import Releases
from oblivious_client.route import Route
from oblivious_client.wallet import Wallet


def addresses(options: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return the relay and the gateway: the command line goes before the environment."""
    if options.relay is not None or options.gateway is not None:
        return options.relay, options.gateway
    relay = os.environ.get("OBLIVIOUS_RELAY")
    return relay, None if relay else os.environ.get("OBLIVIOUS_GATEWAY")


def pcrs(options: argparse.Namespace) -> str | None:
    """Return the file of measurements, if one is named."""
    return options.pcrs or os.environ.get("OBLIVIOUS_PCRS")


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
    """Return the route that questions take; the cache serves unless it is switched off."""
    relay, gateway = addresses(options)
    return _route(options, relay, gateway, framing, releases)


def routes(options: argparse.Namespace) -> list[Route]:
    """Return the routes of who may name several relays, in the order in which they are tried.

    They rely on one list of releases, wherever the newest one comes from.
    """
    relays, gateway = addresses(options)
    named: Sequence[str | None] = [relays] if relays is None or isinstance(relays, str) else relays
    relied_on = release_settings.releases(options)
    return [
        _route(options, relay, gateway, Framing.CHUNKED, relied_on)
        for relay in dict.fromkeys(named)
    ]


def wallet(options: argparse.Namespace) -> Wallet:
    """Return the wallet of the command line, of the environment, or of this user."""
    named = options.wallet or os.environ.get("OBLIVIOUS_WALLET")
    return Wallet(Path(named) if named else places.data() / "wallet.sqlite3")


def model(options: argparse.Namespace) -> str:
    """Return the model to ask."""
    return options.model or os.environ.get("OBLIVIOUS_MODEL") or DEFAULT_MODEL


def _route(
    options: argparse.Namespace,
    relay: str | None,
    gateway: str | None,
    framing: Framing,
    releases: Releases | None,
) -> Route:
    mirrors = release_settings.mirrors(options)
    return Route(
        relay,
        gateway=gateway,
        policy=policy(options),
        framing=framing,
        # What lies in the cache may have been verified without mirrors.
        cache=None if options.no_cache or mirrors else EvidenceCache(default_directory()),
        proxy=options.proxy,
        wallet=wallet(options) if "wallet" in options else None,
        max_price=getattr(options, "max_price", None),
        releases=releases,
        mirrors=mirrors,
    )

"""What the options come to, with what the environment says beside them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from oblivious_client.cache import EvidenceCache, default_directory
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.framing import Framing
from oblivious_client.policy import Policy, Simulated, read_releases, read_root
from oblivious_client.route import Route


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


def route(options: argparse.Namespace, framing: Framing = Framing.CHUNKED) -> Route:
    """Return the route that questions take; the cache serves unless it is switched off."""
    relay, gateway = addresses(options)
    return _route(options, relay, gateway, framing)


def routes(options: argparse.Namespace) -> list[Route]:
    """Return the routes of who may name several relays, in the order in which they are tried."""
    relays, gateway = addresses(options)
    named: Sequence[str | None] = [relays] if relays is None or isinstance(relays, str) else relays
    return [_route(options, relay, gateway, Framing.CHUNKED) for relay in dict.fromkeys(named)]


def model(options: argparse.Namespace) -> str:
    """Return the model to ask."""
    return options.model or os.environ.get("OBLIVIOUS_MODEL") or DEFAULT_MODEL


def _route(
    options: argparse.Namespace, relay: str | None, gateway: str | None, framing: Framing
) -> Route:
    return Route(
        relay,
        gateway=gateway,
        policy=policy(options),
        framing=framing,
        cache=None if options.no_cache else EvidenceCache(default_directory()),
        proxy=options.proxy,
    )

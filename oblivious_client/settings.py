"""What the options come to, with what environment and configuration file say below them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from oblivious_client import layers, places, release_settings
from oblivious_client.cache import EvidenceCache, default_directory
from oblivious_client.defaults import DEFAULT_MODEL
from oblivious_client.errors import UsageError
from oblivious_client.framing import Framing
from oblivious_client.layers import DEFAULT, Found
from oblivious_client.policy import Policy, Simulated, read_releases, read_root
from oblivious_client.proxies import proxy_address
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust_file import packaged_trust
from oblivious_client.route import Route
from oblivious_client.terminal import note
from oblivious_client.wallet import Wallet

PACKAGED = "the trust.json of this client"


def found(options: argparse.Namespace) -> dict[str, Found]:
    """Return each setting with its source: the command line, then the environment, then the file.

    What does not count, for something above takes its place, has no value.
    """
    relay, gateway = layers.where(options)
    pins, trusted = layers.demanded(options)
    if pins.value is None and trusted.value is None and packaged_trust() is not None:
        trusted = Found(PACKAGED, DEFAULT)
    asked = layers.single(options, "model")
    return {
        "relay": relay,
        "gateway": gateway,
        "proxy": layers.single(options, "proxy"),
        "pcrs": pins,
        "trust": trusted,
        **layers.mirrored(options),
        "model": Found(DEFAULT_MODEL, DEFAULT) if asked.value is None else asked,
    }


def addresses(
    options: argparse.Namespace,
) -> tuple[str | Sequence[str] | None, str | None]:
    """Return the relay, or several where the command takes several, and the gateway."""
    relay, gateway = layers.where(options)
    return relay.value, gateway.text


def pcrs(options: argparse.Namespace) -> str | None:
    """Return the file of measurements, if one is named that counts."""
    return layers.demanded(options)[0].text


def proxy(options: argparse.Namespace) -> str | None:
    """Return the proxy, if one is named; raises UsageError where the environment's is none."""
    address = layers.single(options, "proxy").text
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
    return layers.single(options, "model").text or DEFAULT_MODEL


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
            tell=note,
        )
        for relay in dict.fromkeys(named)
    ]

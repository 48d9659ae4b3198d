"""A route: where questions go, what is demanded before, and how they travel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import TypedDict

from oblivious_client.cache import EvidenceCache
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import UsageError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.releases.keys_seen import Mirrors
from oblivious_client.releases.source import Releases
from oblivious_client.sealing import Framing
from oblivious_client.wallet import Wallet
from protocol.errors import MalformedMessage
from protocol.token_prices import PricePoint


class RouteOptions(TypedDict, total=False):
    """The fields of a `Route` by their names."""

    gateway: str | None
    policy: Policy
    framing: Framing
    cache: EvidenceCache | None
    proxy: str | None
    wallet: Wallet | None
    max_price: str | None
    releases: Releases | None
    mirrors: Mirrors | None
    tell: Callable[[str], None]


def silent(text: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where questions go, what is demanded before, and how they travel.

    `relay` is `https://HOST[:PORT][/PATH]`, `http://…` for trials, or `unix:PATH`; so is `gateway`,
    which takes its place in trials. `policy` says what evidence has to prove, `framing` how a
    question is sealed, `cache` where verified evidence is kept between runs; `proxy` is the URL of
    an HTTP proxy, and those of the environment are not used. `wallet` pays for questions that cost
    something, with tokens of at most `max_price`, as `c16`. With `releases` the measurements that
    they accept at the time take the place of the policy's; `mirrors` have to have seen the keys.
    `tell` is given a line where something takes minutes. Raises UsageError.
    """

    relay: str | None = None
    _: KW_ONLY
    gateway: str | None = None
    policy: Policy = field(default_factory=Policy)
    framing: Framing = Framing.CHUNKED
    cache: EvidenceCache | None = None
    proxy: str | None = None
    wallet: Wallet | None = None
    max_price: str | None = None
    releases: Releases | None = None
    mirrors: Mirrors | None = None
    tell: Callable[[str], None] = field(default=silent, repr=False, compare=False)
    endpoint: Endpoint = field(init=False, repr=False)
    most: PricePoint | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "endpoint", _endpoint(self.relay, self.gateway))
        most = None if self.max_price is None else price_point(self.max_price)
        object.__setattr__(self, "most", most)

    @property
    def words(self) -> tuple[str, ...]:
        """The options that lead a command the same way, for advice."""
        where = (f"--{self.endpoint.role.value}", self.relay or self.gateway or "")
        is_trial = self.policy.simulated is Simulated.ALLOWED
        return (*where, "--allow-simulated") if is_trial else where


def route_of(relay: Route | str | None, options: RouteOptions) -> Route:
    """Return the route that is given as one, or by its parts; raises UsageError."""
    if not isinstance(relay, Route):
        return Route(relay, **options)
    if options:
        raise UsageError("a route is whole: put what is beside it into it")
    return relay


def price_point(name: str) -> PricePoint:
    """Return the price point of that name; raises UsageError."""
    try:
        return PricePoint.decode(name)
    except MalformedMessage as error:
        raise UsageError(f"not a price point: {name!r}", advice="write c1, c4, c16, …") from error


def _endpoint(relay: str | None, gateway: str | None) -> Endpoint:
    if relay and not gateway:
        return Endpoint.parse(Role.RELAY, relay)
    if gateway and not relay:
        return Endpoint.parse(Role.GATEWAY, gateway)
    raise UsageError(
        "give the address of either a relay or a gateway",
        advice="use --relay URL, or set OBLIVIOUS_RELAY",
    )

"""Routes: given whole or by their parts, and never both."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from oblivious_client.cache import EvidenceCache
from oblivious_client.endpoint import Role
from oblivious_client.errors import UsageError
from oblivious_client.policy import Policy, Simulated
from oblivious_client.route import Route, RouteOptions, route_of
from oblivious_client.sealing import Framing


def test_a_route_knows_its_endpoint() -> None:
    assert Route("https://relay.example").endpoint.role is Role.RELAY
    assert Route(gateway="unix:/run/gateway").endpoint.socket_path == "/run/gateway"


def test_what_is_not_said_is_strict() -> None:
    route = Route("https://relay.example")
    assert (route.policy, route.framing) == (Policy(), Framing.CHUNKED)
    assert route.policy.simulated is Simulated.REFUSED
    assert (route.cache, route.proxy) == (None, None)


@pytest.mark.parametrize(
    ("relay", "gateway"), [(None, None), ("", ""), ("https://a.example", "https://b.example")]
)
def test_exactly_one_address_is_wanted(relay: str | None, gateway: str | None) -> None:
    with pytest.raises(UsageError, match="either a relay or a gateway"):
        Route(relay, gateway=gateway)


def test_a_route_does_not_change() -> None:
    route: Any = Route("https://relay.example")
    with pytest.raises(FrozenInstanceError):
        route.policy = Policy(simulated=Simulated.ALLOWED)


def test_by_its_parts_or_whole(tmp_path: Path) -> None:
    options: RouteOptions = {
        "policy": Policy(simulated=Simulated.ALLOWED),
        "framing": Framing.WHOLE,
        "cache": EvidenceCache(tmp_path),
        "proxy": "http://proxy.example:3128",
    }
    route = Route("https://relay.example", **options)
    assert route_of("https://relay.example", options) == route
    assert route_of(route, {}) is route
    with pytest.raises(UsageError, match="whole"):
        route_of(route, options)


def test_the_options_are_the_fields() -> None:
    names = {field.name for field in fields(Route) if field.init} - {"relay"}
    assert set(RouteOptions.__annotations__) == names


def test_a_route_is_what_was_said_of_it() -> None:
    """What is made of that is neither shown, nor compared, nor given."""
    told: list[str] = []
    route = Route("https://relay.example", max_price="c4", tell=told.append)
    assert route == Route("https://relay.example", max_price="c4")
    assert route != Route("https://relay.example")
    shown = repr(route)
    assert "relay='https://relay.example'" in shown
    for hidden in ("endpoint=", "most=", "tell="):
        assert hidden not in shown
    made: Any = Route
    for given in ({"endpoint": route.endpoint}, {"most": route.most}):
        with pytest.raises(TypeError, match="unexpected keyword"):
            made("https://relay.example", **given)

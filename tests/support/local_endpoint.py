"""The local endpoint in a thread of its own, as tests talk to it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from oblivious_client.local.access import Access
from oblivious_client.local.endpoint import LocalEndpoint
from oblivious_client.local.listening import Place, bind, start
from oblivious_client.local.messages import Handled
from oblivious_client.local.relays import Relays
from oblivious_client.policy import Policy, Simulated
from oblivious_client.releases.source import Releases
from oblivious_client.route import Route
from oblivious_client.transport import AsyncObliviousTransport
from oblivious_client.wallet import Wallet
from tests.support.gateway import StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)
DEADLINE = 120.0
HERE = Place(("127.0.0.1",), 0)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the endpoint is set up."""

    policy: Policy = ALLOWED
    access: Access = field(default_factory=Access)
    most: int = 400
    refusals: int = 32
    tell: Callable[[str], None] = lambda said: None
    handled: Callable[[Handled], None] = lambda handled: None
    place: Place = HERE
    control: bytes | None = None
    wallet: Wallet | None = None
    releases: Releases | None = None


@contextlib.contextmanager
def running(relays: Sequence[str | Route], setting: Setting) -> Iterator[tuple[str, LocalEndpoint]]:
    """Run the endpoint in a thread; give its URL, and itself to be looked at.

    A route has what else the setting says of one.
    """
    ready = threading.Event()
    made: list[tuple[str, LocalEndpoint, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        transports = [
            AsyncObliviousTransport(relay)
            if isinstance(relay, Route)
            else AsyncObliviousTransport(
                relay, policy=setting.policy, wallet=setting.wallet, releases=setting.releases
            )
            for relay in relays
        ]
        asked = Relays(transports, setting.tell)
        endpoint = LocalEndpoint(
            asked,
            setting.access,
            most=setting.most,
            refusals=setting.refusals,
            tell=setting.handled,
        )
        endpoint.control = setting.control
        listening = await start(endpoint, bind(setting.place, setting.tell))
        url, stop = setting.place.url(listening.port), asyncio.Event()
        made.append((url, endpoint, asyncio.get_running_loop(), stop))
        ready.set()
        await stop.wait()
        listening.close()
        await asked.aclose()

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    assert ready.wait(DEADLINE)
    url, endpoint, loop, stop = made[0]
    try:
        yield url, endpoint
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(DEADLINE)


@contextlib.contextmanager
def serving(
    gateway: StandInGateway, policy: Policy = ALLOWED, most: int = 400, refusals: int = 32
) -> Iterator[str]:
    """Run the endpoint for one gateway; give its URL."""
    setting = Setting(policy, most=most, refusals=refusals)
    with running([gateway.url], setting) as (url, _):
        yield url

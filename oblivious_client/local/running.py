"""`oblivious-client serve`: kept up until it is told to stop, and what it says meanwhile."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from oblivious_client import layers, release_report, settings
from oblivious_client.advice import warnings
from oblivious_client.errors import ClientError, OuterRefusal, UsageError
from oblivious_client.exits import Exit
from oblivious_client.local import control, units
from oblivious_client.local.access import Access, read_host, read_key, read_origin
from oblivious_client.local.descriptors import Scarcity, affordable
from oblivious_client.local.endpoint import MAX_CONNECTIONS, MAX_REFUSALS, LocalEndpoint
from oblivious_client.local.listening import Place, bind, read_place, start
from oblivious_client.local.log import line
from oblivious_client.local.messages import Handled
from oblivious_client.local.relays import Relays
from oblivious_client.local.signals import when_told_to_end
from oblivious_client.terminal import harmless
from oblivious_client.token_commands import buyer_of
from oblivious_client.top_up import Stocks, TopUp, read_stocks
from oblivious_client.transport import AsyncObliviousTransport
from protocol.evidence import VerifiedEvidence
from protocol.token_catalogue import Catalogue

Chosen = argparse.Namespace
Tell = Callable[[str], None]

FIRST_PAUSE_SECONDS = 1.0
"""Between the first two attempts to verify where there is no network, doubled each time."""
LONGEST_PAUSE_SECONDS = 60.0

# What another attempt does not mend: the service manager is not to make one either.
_REFUSED = [int(code) for code in Exit if Exit.EVIDENCE_MALFORMED <= code <= Exit.UNPINNED]
_REFUSED.append(int(Exit.RELEASES_CONFLICT))


def serve(chosen: Chosen, tell: Tell) -> Exit:
    """Be an OpenAI endpoint for the programs of this machine until told to stop."""
    return _ACTIONS[chosen.action or "run"](chosen, tell)


def _run(chosen: Chosen, tell: Tell) -> Exit:
    place = read_place(chosen.listen)
    who, stocks = access(chosen, place), _stocks(chosen)
    return asyncio.run(_serve(chosen, place, who, stocks, tell))


def _stocks(chosen: Chosen) -> Stocks | None:
    """Return what is to be kept of tokens; what is wrong with it shows before anything is sent."""
    if chosen.top_up is None:
        return None
    return Stocks(buyer_of(chosen), read_stocks(chosen.top_up))


def access(chosen: Chosen, place: Place) -> Access:
    """Return who may ask; raises UsageError for an address elsewhere without a key."""
    if not place.is_here and chosen.api_key is None:
        raise UsageError(
            f"{place.hosts[0]} is not an address of this machine alone",
            advice="it speaks clear text: listen on 127.0.0.1 and run one on each machine, or, for "
            "containers of this machine, give --api-key FILE, which every request then needs",
        )
    hosts = frozenset(map(read_host, chosen.allow_host)) | place.names
    origins = frozenset(map(read_origin, chosen.allow_origin))
    return Access(hosts, origins, None if chosen.api_key is None else read_key(chosen.api_key))


def _install(chosen: Chosen, tell: Tell) -> Exit:
    place = read_place(chosen.listen)
    access(chosen, place)  # what `serve` would refuse is refused now
    _stocks(chosen)
    installed = units.install(command(chosen), _REFUSED)
    tell(f"written: {installed.path}")
    units.start(installed)
    tell("it runs now and at each login; `oblivious-client serve status` shows how it fares")
    return Exit.OK


def command(chosen: Chosen) -> list[str]:
    """Return the command that serves as was chosen, with nothing left to the environment."""
    words = [sys.executable, "-m", "oblivious_client", "serve"]
    for route in settings.routes(chosen):
        role = route.endpoint.role.value
        words += [f"--{role}", (route.relay or route.gateway or "")]
    voucher = None if chosen.voucher == "-" else chosen.voucher
    paths = {
        "--pcrs": settings.pcrs(chosen),
        "--trust": layers.single(chosen, "trust").text,
        "--releases": chosen.releases,
        "--root": chosen.root,
        "--api-key": chosen.api_key,
        "--wallet": chosen.wallet or os.environ.get("OBLIVIOUS_WALLET"),
        "--voucher": voucher,
    }
    words += [
        word for name, path in paths.items() if path for word in (name, str(Path(path).resolve()))
    ]
    said = layers.mirrored(chosen)
    words += [word for key in said["mirror"].value or () for word in ("--mirror", key)]
    for name, value in (
        ("--mirrors", said["mirrors"].text),
        ("--mirror-of", said["mirror_of"].text),
        ("--mirror-down", said["mirror_down"].text),
        ("--proxy", settings.proxy(chosen)),
        ("--listen", chosen.listen),
        ("--max-price", chosen.max_price),
        ("--top-up", chosen.top_up),
        ("--issuer-proxy", chosen.issuer_proxy),
    ):
        words += [name, value] if value else []
    words += ["--max-age", str(chosen.max_age)]
    for name, values in (
        ("--allow-origin", chosen.allow_origin),
        ("--allow-host", chosen.allow_host),
    ):
        words += [word for value in values for word in (name, value)]
    flags = {"--allow-simulated": chosen.allow_simulated, "--no-cache": chosen.no_cache}
    return words + [name for name, is_set in (flags | {"--log": chosen.log}).items() if is_set]


def _status(chosen: Chosen, tell: Tell) -> Exit:
    running = _chosen(chosen)
    for each, told in running:
        evidence, address = told.get("evidence"), told.get("address")
        # Where one was killed, another's program may listen now, and say what it likes.
        print(harmless(f"{each.url}  process {each.process}, evidence {evidence}, {address}"))
    if not running:
        tell("no endpoint of yours is running")
    return Exit.OK if running else Exit.FAILURE


def _stop(chosen: Chosen, tell: Tell) -> Exit:
    running = _chosen(chosen)
    for each, _ in running:
        if not control.stop(each):
            raise ClientError(f"{each.url} does not say that it stops")
        tell(f"stopped: {each.url}")
    if not running:
        tell("no endpoint of yours is running")
    return Exit.OK if running else Exit.FAILURE


def _chosen(chosen: Chosen) -> list[tuple[control.Running, dict[str, object]]]:
    """Return what runs, or of that what listens at the port that was chosen."""
    found = control.found()
    if chosen.listen is None:
        return found
    port = read_place(chosen.listen).port
    return [(each, told) for each, told in found if httpx.URL(each.url).port == port]


_ACTIONS: dict[str, Callable[[Chosen, Tell], Exit]] = {
    "run": _run,
    "install": _install,
    "status": _status,
    "stop": _stop,
}


async def _serve(
    chosen: Chosen, place: Place, who: Access, stocks: Stocks | None, tell: Tell
) -> Exit:
    routes = settings.routes(chosen)
    relays = Relays([AsyncObliviousTransport(route) for route in routes], tell)
    try:
        for route in routes:
            for warning in warnings(route.endpoint):
                tell(warning)
        is_verified = await _verified(relays, tell)
        most, refusals = affordable(MAX_CONNECTIONS, MAX_REFUSALS)
        if most < MAX_CONNECTIONS:
            tell(f"few descriptors (ulimit -n): at most {most} programs are served at once")
        logged = _logging(tell) if chosen.log else (lambda handled: None)
        endpoint = LocalEndpoint(relays, who, most=most, refusals=refusals, tell=logged)
        verifying = None if is_verified else asyncio.ensure_future(_verify(relays, tell))
        try:
            key = "any OPENAI_API_KEY" if who.key is None else "OPENAI_API_KEY from its file"
            with _topping_up(stocks, relays, tell):
                await _serve_until_stopped(endpoint, place, key, tell)
        finally:
            if verifying is not None:
                verifying.cancel()
                await asyncio.gather(verifying, return_exceptions=True)
    finally:
        await relays.aclose()
    return Exit.OK


@contextmanager
def _topping_up(stocks: Stocks | None, relays: Relays, tell: Tell) -> Iterator[None]:
    """Keep stocks of tokens while the block runs, if that is asked for."""
    if stocks is None:
        yield
        return

    async def catalogue() -> Catalogue | None:
        return (await relays.evidence()).catalogue

    task = asyncio.create_task(TopUp(stocks, catalogue, tell).run())
    try:
        yield
    finally:
        task.cancel()


async def _verified(relays: Relays, tell: Tell) -> bool:
    """Verify and say so, or say that nobody answers yet; raises ClientError for anything else."""
    try:
        verified = await relays.evidence()
    except ClientError as failure:
        if not is_passing(failure):
            raise
        tell(f"not verified yet: {failure}: {failure.advice}")
        return False
    _say(relays, verified, tell)
    return True


async def _verify(relays: Relays, tell: Tell) -> None:
    """Try until the evidence has verified; each question tries by itself as well."""
    pause, last = FIRST_PAUSE_SECONDS, ""
    while True:
        await asyncio.sleep(pause)
        try:
            verified = await relays.evidence()
        except ClientError as failure:
            said = f"not verified yet: {failure}: {failure.advice}"
            if said != last:
                tell(said)
            last, pause = said, min(2 * pause, LONGEST_PAUSE_SECONDS)
            continue
        _say(relays, verified, tell)
        return


def _say(relays: Relays, verified: VerifiedEvidence, tell: Tell) -> None:
    """Say what was verified, of which release it is, and what to look after."""
    for said in release_report.lines_before(relays.current.source, verified, time.time()):
        tell(said)


def is_passing(failure: ClientError) -> bool:
    """Whether somebody does not answer, which may be different in a moment."""
    if isinstance(failure, OuterRefusal):
        return failure.status >= 500 or failure.status == httpx.codes.TOO_MANY_REQUESTS
    return failure.code is Exit.NO_CONNECTION


def _logging(tell: Tell) -> Callable[[Handled], None]:
    return lambda handled: tell(line(handled, now=time.time()))


async def _serve_until_stopped(endpoint: LocalEndpoint, place: Place, key: str, tell: Tell) -> None:
    when_told_to_end(endpoint.stop.set)
    asyncio.get_running_loop().set_exception_handler(Scarcity(tell))
    listening = await start(endpoint, bind(place, tell))
    url = place.url(listening.port)
    try:
        with control.announced(url) as endpoint.control:
            tell(f"listening: open {url}/ or set OPENAI_BASE_URL={url}/v1 ({key})")
            await endpoint.stop.wait()
    finally:
        listening.close()

"""`setup` and `config show`: decide once where to ask, and see what counts.

`setup` takes what is given as options, and asks for the rest if a person sits there. Every relay
has to prove its enclave before a word is written, so a file that is there has worked once. What
was decided before stays unless something else is said.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from oblivious_client import configuration, layers, release_report, release_settings, settings
from oblivious_client.advice import warnings
from oblivious_client.client import ObliviousClient
from oblivious_client.configuration import Configuration
from oblivious_client.errors import ClientError, EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import read_releases
from oblivious_client.releases import clocks
from oblivious_client.releases.source import Releases
from oblivious_client.releases.trust_file import read_trust
from oblivious_client.terminal import print_json

Chosen = argparse.Namespace
Tell = Callable[[str], None]

_RELAY = "Relay, which sees your address and no word (https://…)"
_TRUST = "File that says whose releases will do, a trust.json; nothing to name measurements"
_PCRS = "File with the measurements of the release that you trust"


def set_up(chosen: Chosen, tell: Tell) -> Exit:
    """Verify what is chosen and write it down; raises UsageError and EvidenceRefused."""
    if chosen.gateway is not None:
        raise UsageError(
            "a gateway sees your address, so it is nothing to keep",
            advice="name a relay; for a trial give --gateway each time",
        )
    path = configuration.place()
    decided = _decided(chosen, configuration.read(path))
    _verify(chosen, decided, tell)
    configuration.write(path, decided)
    tell(f"written: {path}")
    print(next_steps(chosen))
    return Exit.OK


def show(chosen: Chosen) -> Exit:
    """Print each setting, its value and where that comes from, and what that comes to."""
    path = configuration.place()
    values = settings.found(chosen)
    demanded = demands(chosen)
    if chosen.json:
        told = {name: {"value": each.value, "source": each.source} for name, each in values.items()}
        print_json(
            {"file": str(path), "exists": path.exists(), "settings": told, "demands": demanded}
        )
        return Exit.OK
    shown = {n: v for n, v in values.items() if v.value or not n.startswith("mirror")}
    width = max(8, *map(len, shown))
    print(f"{'file':<{width}} {path}{'' if path.exists() else ' (there is none)'}")
    for name, each in shown.items():
        if each.value is None:
            print(f"{name:<{width}} -")
            continue
        value = each.value if isinstance(each.value, str) else " ".join(each.value)
        print(f"{name:<{width}} {value}  ({each.source})")
    print(f"{'demands':<{width}} {demanded}")
    return Exit.OK


def demands(chosen: Chosen) -> str:
    """Return what an enclave has to prove to run, in words; files that are wrong are said to be."""
    try:
        if settings.pcrs(chosen) is not None:
            count = len(settings.policy(chosen).releases)
            return "the measurements of the file" + (f", one of {count} sets" if count > 1 else "")
        releases = release_settings.releases(chosen)
        if releases is not None:
            return f"a release that these signed: {releases.trust.in_words()}; {_listed(releases)}"
    except ClientError as error:
        return f"nothing can be asked: {error}"
    if chosen.allow_simulated:
        return "nothing: a simulated enclave will do"
    return "nothing yet, so that no enclave of AWS's will do: name --trust or --pcrs"


def _listed(releases: Releases) -> str:
    current = releases.current()
    if current is None:
        return "no list of them is here yet"
    return f"list {clocks.in_words(time.time() - current.published.as_of)} old"


def next_steps(chosen: Chosen) -> str:
    """Return what can be done now, to be pasted."""
    given = ["--allow-simulated"] if chosen.allow_simulated else []
    given += ["--root", str(chosen.root)] if chosen.root else []
    words = shlex.join(["oblivious-client", "chat", *given])
    serving = shlex.join(["oblivious-client", "serve", *given])
    return (
        f'Now ask:\n  {words} "What is the capital of France?"\n'
        f"or be an endpoint for the programs of this machine:\n  {serving}"
    )


def _decided(chosen: Chosen, before: Configuration) -> Configuration:
    relays = tuple(dict.fromkeys(chosen.relay or ())) or before.relay
    if _is_a_person_there() and not chosen.relay:
        relays = (_asked(_RELAY, " ".join(relays)),) if len(relays) < 2 else relays
    pcrs, trust = _demanded(chosen)
    if not any(relays):
        raise UsageError("there is no relay to set up", advice="name one: --relay URL")
    # What is wrong with a file is said before anybody is asked.
    if pcrs is not None:
        read_releases(Path(pcrs := _whole(pcrs)))
    if trust is not None:
        read_trust(Path(trust := _whole(trust)))
    return replace(
        before,
        relay=relays,
        gateway=None,
        pcrs=pcrs,
        trust=trust,
        proxy=chosen.proxy or before.proxy,
        **_mirrors(chosen),
        model=chosen.model or before.model,
    )


def _demanded(chosen: Chosen) -> tuple[str | None, str | None]:
    """Return the file of measurements, or that of who is trusted, or neither."""
    pins, trusted = layers.demanded(chosen)
    if pins.value is not None and chosen.trust:
        raise UsageError(
            f"measurements take the place of releases, and {pins.source} names some",
            advice="keep one of them: leave out --trust or the measurements",
        )
    pcrs, trust = pins.text, trusted.text
    if chosen.pcrs or chosen.trust or chosen.allow_simulated or not _is_a_person_there():
        return pcrs, trust
    if typed := _asked(_TRUST, trust or ""):
        return None, typed
    return _asked(_PCRS, pcrs or "") or None, None


def _mirrors(chosen: Chosen) -> dict[str, Any]:
    """Return what is said of mirrors; those of before are forgotten where others are named."""
    told = {
        "mirrors": chosen.mirrors,
        "mirror_of": chosen.mirror_of,
        "mirror_down": chosen.mirror_down,
    }
    if chosen.mirror:
        return {"mirror": tuple(dict.fromkeys(key.encode() for key in chosen.mirror)), **told}
    return {name: value for name, value in told.items() if value is not None}


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _verify(chosen: Chosen, decided: Configuration, tell: Tell) -> None:
    """Have each relay prove its enclave, with what is decided and nothing else."""
    wanted = argparse.Namespace(**vars(chosen))
    wanted.relay, wanted.proxy = list(decided.relay), decided.proxy
    wanted.pcrs, wanted.trust = decided.pcrs, decided.trust
    for route in settings.routes(wanted):
        with ObliviousClient(route) as client:
            for warning in warnings(route.endpoint):
                tell(warning)
            try:
                verified = client.evidence()
            except EvidenceRefused as error:
                error.advice = f"{error.advice}; nothing was written".removeprefix("; ")
                raise
            for line in release_report.lines_before(client.transport.source, verified, time.time()):
                tell(line)


def _is_a_person_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _asked(what: str, before: str) -> str:
    print(f"{what}{f' [{before}]' if before else ''}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or before

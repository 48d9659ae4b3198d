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

from oblivious_client import configuration, report, settings
from oblivious_client.advice import warnings
from oblivious_client.client import ObliviousClient
from oblivious_client.configuration import Configuration
from oblivious_client.errors import EvidenceRefused, UsageError
from oblivious_client.exits import Exit
from oblivious_client.policy import read_releases
from oblivious_client.terminal import print_json

Chosen = argparse.Namespace
Tell = Callable[[str], None]

_RELAY = "Relay, which sees your address and no word (https://…)"
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
    """Print each setting, its value and where that comes from."""
    path = configuration.place()
    values = settings.found(chosen)
    if chosen.json:
        told = {name: {"value": each.value, "source": each.source} for name, each in values.items()}
        print_json({"file": str(path), "exists": path.exists(), "settings": told})
        return Exit.OK
    print(f"{'file':<8} {path}{'' if path.exists() else ' (there is none)'}")
    for name, each in values.items():
        if each.value is None:
            print(f"{name:<8} -")
            continue
        value = each.value if isinstance(each.value, str) else " ".join(each.value)
        print(f"{name:<8} {value}  ({each.source})")
    return Exit.OK


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
    pcrs = chosen.pcrs or before.pcrs
    if _is_a_person_there():
        if not chosen.relay:
            relays = (_asked(_RELAY, " ".join(relays)),) if len(relays) < 2 else relays
        if not chosen.pcrs and not chosen.allow_simulated:
            pcrs = _asked(_PCRS, pcrs or "") or None
    if not any(relays):
        raise UsageError("there is no relay to set up", advice="name one: --relay URL")
    if pcrs is not None:
        pcrs = str(Path(pcrs).expanduser().resolve())
        read_releases(Path(pcrs))  # what is wrong with it is said before anybody is asked
    return replace(
        before,
        relay=relays,
        gateway=None,
        pcrs=pcrs,
        proxy=chosen.proxy or before.proxy,
        model=chosen.model or before.model,
    )


def _verify(chosen: Chosen, decided: Configuration, tell: Tell) -> None:
    """Have each relay prove its enclave, with what is decided and nothing else."""
    wanted = argparse.Namespace(**vars(chosen))
    wanted.relay, wanted.pcrs, wanted.proxy = list(decided.relay), decided.pcrs, decided.proxy
    for route in settings.routes(wanted):
        with ObliviousClient(route) as client:
            for warning in warnings(route.endpoint):
                tell(warning)
            try:
                tell(report.as_line(client.evidence(), route.policy, now=time.time()))
            except EvidenceRefused as error:
                error.advice = f"{error.advice}; nothing was written".removeprefix("; ")
                raise


def _is_a_person_there() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


def _asked(what: str, before: str) -> str:
    print(f"{what}{f' [{before}]' if before else ''}: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or before

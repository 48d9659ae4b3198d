"""Names are looked up each by itself, and what was found is kept for a while."""

import socket
import threading
from typing import Any

from host_proxy.loop import Loop
from host_proxy.resolver import WAITING, Candidate, Lookup, Resolver, interleaved
from tests.support.host_proxy_process import DEADLINE

V4 = socket.AF_INET
V6 = socket.AF_INET6


def test_too_many_look_ups_fail_at_once() -> None:
    release = threading.Event()

    def slow(*_: Any, **__: Any) -> Any:
        release.wait(DEADLINE)
        return []

    loop = Loop()
    resolver = Resolver(loop, slow)
    lookups = [resolver.look_up("slow.example", 443, _ignore) for _ in range(WAITING + 20)]
    assert lookups[0] is not None
    assert lookups[-1] is None
    for lookup in lookups:
        if isinstance(lookup, Lookup):
            lookup.cancel()
    release.set()
    loop.shut_down()


def _ignore(candidates: list[Candidate]) -> None:
    raise AssertionError("a cancelled look-up was answered")


def test_families_alternate() -> None:
    six, four = [(V6, ("6", n)) for n in range(3)], [(V4, ("4", n)) for n in range(2)]
    assert interleaved([*six, *four]) == [six[0], four[0], six[1], four[1], six[2]]
    assert interleaved([*four, six[0]]) == [four[0], six[0], four[1]]
    assert interleaved([]) == []

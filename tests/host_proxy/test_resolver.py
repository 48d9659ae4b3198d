"""Names are looked up each by itself, and what was found is kept for a while."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from host_proxy.loop import Loop
from host_proxy.resolver import (
    FRESH_SECONDS,
    KEPT_SECONDS,
    THREADS,
    WAITING,
    Candidate,
    Lookup,
    Resolver,
    interleaved,
)
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


class Names:
    """A name server whose answers the test gives, and a clock that the test sets."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.now = 1000.0
        self.asked: list[str] = []
        self.answers: dict[str, list[str]] = {}  # none: no such name
        self.silent: dict[str, threading.Event] = {}
        self.resolver = Resolver(self.loop, self._getaddrinfo, lambda: self.now)
        self.got: list[tuple[str, list[Candidate]]] = []

    def _getaddrinfo(self, host: str, port: int, **_: Any) -> Any:
        self.asked.append(host)
        if host in self.silent:
            self.silent[host].wait(DEADLINE)
        if not self.answers.get(host):
            raise socket.gaierror(-2, "no such name")
        return [(V4, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in self.answers[host]]

    def look_up(self, host: str) -> Lookup | None:
        return self.resolver.look_up(host, 443, lambda found: self.got.append((host, found)))

    def recall(self, host: str) -> list[str]:
        return [sockaddr[0] for _, sockaddr in self.resolver.recall(host, 443)]

    def until(self, condition: Callable[[], bool]) -> None:
        def look() -> None:
            if condition() or time.monotonic() > end:
                self.loop.stop()
            else:
                self.loop.later(0.005, look)

        end = time.monotonic() + DEADLINE
        self.loop.later(0, look)
        self.loop.run()
        assert condition()

    def settle(self) -> None:
        """Wait until what is being asked has been answered; nothing may be silent."""
        for thread in threading.enumerate():
            if thread.name.startswith("look-up of "):
                thread.join(DEADLINE)
        self.loop.post(self.loop.stop)
        self.loop.run()

    def found(self, host: str) -> None:
        """Look a name up and wait for the answer."""
        before = len(self.got)
        assert self.look_up(host) is not None
        self.until(lambda: len(self.got) > before)


@pytest.fixture
def names() -> Iterator[Names]:
    names = Names()
    yield names
    for event in names.silent.values():
        event.set()
    names.loop.shut_down()


def test_a_silent_name_holds_up_no_other(names: Names) -> None:
    """More connections wait for silent names than there ever were threads."""
    names.answers = {"good.example": ["192.0.2.1"]}
    for number in range(THREADS - 1):
        names.silent[f"silent{number}.example"] = threading.Event()
        for _ in range(8):
            assert names.look_up(f"silent{number}.example") is not None
    names.found("good.example")
    assert names.got == [("good.example", [(V4, ("192.0.2.1", 443))])]
    assert sorted(names.asked) == sorted([*names.silent, "good.example"])  # once each


def test_there_is_an_end_to_look_ups_at_once(names: Names) -> None:
    for number in range(THREADS):
        names.silent[f"silent{number}.example"] = threading.Event()
        assert names.look_up(f"silent{number}.example") is not None
    assert names.look_up("one-more.example") is None
    names.silent["silent0.example"].set()
    names.until(lambda: bool(names.got))  # its thread has ended
    names.silent["one-more.example"] = threading.Event()
    assert names.look_up("one-more.example") is not None
    assert names.look_up("yet-another.example") is None


def test_who_waits_for_one_name_shares_its_answer(names: Names) -> None:
    names.answers = {"a.example": ["192.0.2.1", "192.0.2.2"]}
    names.silent["a.example"] = threading.Event()
    lookups = [names.look_up("a.example") for _ in range(3)]
    assert lookups[1] is not None
    lookups[1].cancel()
    lookups[1].cancel()  # once more does no harm
    names.silent["a.example"].set()
    names.until(lambda: len(names.got) == 2)
    candidates: list[Candidate] = [(V4, ("192.0.2.1", 443)), (V4, ("192.0.2.2", 443))]
    assert names.got == [("a.example", candidates)] * 2
    assert names.asked == ["a.example"]


def test_who_gives_up_makes_room_for_another_to_wait(names: Names) -> None:
    names.silent["a.example"] = threading.Event()
    lookups = [names.look_up("a.example") for _ in range(WAITING)]
    assert names.look_up("a.example") is None
    assert lookups[0] is not None
    lookups[0].cancel()
    assert names.look_up("a.example") is not None


def test_what_was_found_is_used_without_asking_then_while_asking_then_no_more(
    names: Names,
) -> None:
    names.answers = {"a.example": ["192.0.2.1"]}
    assert names.recall("a.example") == []
    names.found("a.example")
    names.answers = {}  # the name server fails from now on
    names.now += FRESH_SECONDS - 0.1
    assert names.recall("a.example") == ["192.0.2.1"]
    assert len(names.asked) == 1
    names.now += 0.1
    for count, seconds in ((2, 0), (3, FRESH_SECONDS), (4, KEPT_SECONDS - 2 * FRESH_SECONDS)):
        names.now += seconds
        assert names.recall("a.example") == names.recall("a.example") == ["192.0.2.1"]
        names.settle()
        assert len(names.asked) == count
    names.now += 0.1
    assert names.recall("a.example") == []


def test_a_name_that_moves_is_followed(names: Names) -> None:
    names.answers = {"a.example": ["192.0.2.1"]}
    names.found("a.example")
    names.answers = {"a.example": ["192.0.2.2"]}
    names.now += FRESH_SECONDS
    assert names.recall("a.example") == ["192.0.2.1"]
    names.until(lambda: names.recall("a.example") == ["192.0.2.2"])
    names.now += KEPT_SECONDS - 1  # counts from the last answer
    assert names.recall("a.example") == ["192.0.2.2"]


def test_an_address_that_leads_nowhere_is_not_used_again(names: Names) -> None:
    names.answers = {"a.example": ["192.0.2.1"]}
    names.resolver.forget("a.example", 443)  # never heard of
    names.found("a.example")
    names.resolver.forget("a.example", 443)
    assert names.recall("a.example") == []
    names.found("a.example")
    assert names.recall("a.example") == ["192.0.2.1"]


def test_a_system_without_threads_is_a_name_without_an_address(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    names.answers = {"a.example": ["192.0.2.1"]}
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert names.look_up("a.example") is None
    names.found("a.example")
    names.now += FRESH_SECONDS
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        assert names.recall("a.example") == ["192.0.2.1"]
    assert names.recall("a.example") == ["192.0.2.1"]
    names.settle()
    assert len(names.asked) == 2


def test_an_answer_after_the_end_is_dropped() -> None:
    names = Names()
    names.silent["a.example"] = threading.Event()
    before = set(threading.enumerate())
    names.look_up("a.example")
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon  # or the process could not end
    names.loop.shut_down()
    names.silent["a.example"].set()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert names.got == []

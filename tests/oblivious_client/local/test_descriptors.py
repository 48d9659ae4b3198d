"""Descriptors: how many programs can be served with those there are, and what is said of it."""

import asyncio
import errno
import resource
from typing import Any

import pytest

from oblivious_client.local.descriptors import SPARE, Scarcity, affordable

WANTED = 2 * 400 + 2 * 32 + SPARE
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (1024, 4096, None),
        (256, 4096, (WANTED, 4096)),
        (256, UNLIMITED, (WANTED, UNLIMITED)),
        (WANTED, WANTED, None),
        (UNLIMITED, UNLIMITED, None),
    ],
)
def test_where_there_are_enough_all_are_served(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, allowed: tuple[int, int] | None
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    assert affordable(400, 32) == (400, 32)
    assert calls == ([] if allowed is None else [allowed])


@pytest.mark.parametrize("hard", [*range(64, 900, 76), WANTED - 1])
def test_where_there_are_fewer_so_are_the_programs(
    monkeypatch: pytest.MonkeyPatch, hard: int
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (60, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    most, refused = affordable(400, 32)
    assert calls == [(hard, hard)]
    assert 1 <= refused <= 32
    assert 1 <= most < 400
    assert 2 * most + 2 * refused + SPARE <= hard


@pytest.mark.parametrize(
    ("have", "served", "refused"),
    [(512, 208, 32), (256, 80, 32), (248, 77, 31), (128, 32, 16), (79, 14, 9), (64, 8, 8)],
)
def test_an_eighth_of_what_there_is_may_be_refused(
    monkeypatch: pytest.MonkeyPatch, have: int, served: int, refused: int
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (have, have))
    assert affordable(400, 32) == (served, refused)
    assert SPARE == 32


def test_where_nobody_counts_sockets_all_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr("oblivious_client.local.descriptors.import_module", absent)
    assert affordable(100_000, 32) == (100_000, 32)


@pytest.mark.parametrize("have", [3, 7, 8])
def test_so_little_is_enough_for_one(monkeypatch: pytest.MonkeyPatch, have: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (have, have))
    assert affordable(400, 32) == (1, 1)


def test_want_of_descriptors_is_told_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    others: list[dict[str, Any]] = []

    async def main() -> None:
        now = 100.0
        loop, scarcity = asyncio.get_running_loop(), Scarcity(told.append)
        with monkeypatch.context() as patched:
            patched.setattr(loop, "time", lambda: now)
            patched.setattr(loop, "default_exception_handler", others.append)
            for code in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                for _ in range(100):
                    scarcity(loop, {"exception": OSError(code, "none left")})
                now += 1
            for error in (OSError(errno.EPIPE, "gone"), ValueError(), None):
                scarcity(loop, {"exception": error})
                scarcity(loop, {"exception": error})

    asyncio.run(main())
    assert told == 4 * ["programs have to wait: none left"]
    assert len(others) == 6

"""Descriptors: what the limits need, what the system gives, and limits that fit."""

import resource

import pytest

from enclave_server.http.descriptors import SPARE_DESCRIPTORS, allow, fitted, needed
from enclave_server.http.limits import Limits

NEEDED = 1000 + 100 + 1000 + SPARE_DESCRIPTORS
UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "allowed", "have"),
    [
        (1024, 4096, (NEEDED, 4096), NEEDED),
        (1024, 2000, (2000, 2000), 2000),
        (1024, UNLIMITED, (NEEDED, UNLIMITED), NEEDED),
        (NEEDED, UNLIMITED, None, NEEDED),
        (NEEDED + 1, UNLIMITED, None, NEEDED),
        (UNLIMITED, UNLIMITED, None, NEEDED),
    ],
)
def test_as_many_are_allowed_as_the_limits_promise(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    allowed: tuple[int, int] | None,
    have: int,
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    assert allow(Limits()) == have
    assert calls == ([] if allowed is None else [allowed])


def test_what_has_enough_stays() -> None:
    limits = Limits(connections=7, refusals=2, requests=5)
    assert needed(limits) == 14 + SPARE_DESCRIPTORS
    assert fitted(limits, needed(limits)) is limits


@pytest.mark.parametrize("have", [*range(0, 100, 7), 1024, NEEDED - 1])
def test_what_has_too_little_is_made_smaller_in_proportion(have: int) -> None:
    limits = Limits()
    smaller = fitted(limits, have)
    assert needed(smaller) <= max(have, SPARE_DESCRIPTORS + 3)
    assert 1 <= smaller.connections == smaller.requests < limits.connections
    assert smaller.refusals == max(1, smaller.connections // 10)
    assert smaller.body_bytes == limits.body_bytes


def test_so_little_is_enough_for_one_of_each() -> None:
    assert needed(fitted(Limits(), 10)) == SPARE_DESCRIPTORS + 3

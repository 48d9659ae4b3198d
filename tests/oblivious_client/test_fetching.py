"""What is fetched in the clear: limits, freshness, and for how long a relay had kept it."""

import time
from collections.abc import Iterator
from email.utils import formatdate

import httpx
import pytest

from oblivious_client.client import ObliviousClient
from oblivious_client.endpoint import Endpoint, Role
from oblivious_client.errors import ClientError, EvidenceRefused, OuterRefusal
from oblivious_client.exits import Exit
from oblivious_client.fetching import (
    ANEW,
    fetch,
    fetch_copy,
    fetch_keys,
    fetching,
    freshness,
    is_old,
    kept_seconds,
)
from oblivious_client.policy import Policy, Simulated
from protocol.evidence import Evidence
from tests.support.gateway import PROBLEM, Plain, StandInGateway

ALLOWED = Policy(simulated=Simulated.ALLOWED)


@pytest.fixture
def gateway() -> Iterator[StandInGateway]:
    with StandInGateway() as running:
        yield running


def fetched(gateway: StandInGateway) -> Evidence:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        return client.transport.run(fetch(client.transport.route.endpoint))


def test_keys_are_fetched_as_they_are_served(gateway: StandInGateway) -> None:
    with ObliviousClient(gateway.url, policy=ALLOWED) as client:
        served = client.transport.run(fetch_keys(client.transport.route.endpoint))
    assert served == gateway.evidence().ohttp_keys


def test_a_nonce_makes_a_fresh_document(gateway: StandInGateway) -> None:
    endpoint = Endpoint.parse(Role.GATEWAY, gateway.url)
    with ObliviousClient(gateway=gateway.url, policy=ALLOWED) as client:
        fresh = client.transport.run(fetch(endpoint, b"n" * 16))
        cached = client.transport.run(fetch(endpoint))
    ALLOWED.verify(fresh, now=time.time(), nonce=b"n" * 16)
    for evidence, nonce in ((fresh, b"m" * 16), (cached, b"n" * 16)):
        with pytest.raises(EvidenceRefused) as caught:
            ALLOWED.verify(evidence, now=time.time(), nonce=nonce)
        assert caught.value.code is Exit.STALE


def test_an_address_without_evidence(gateway: StandInGateway) -> None:
    gateway.faults.evidence_answers = [Plain(404, PROBLEM, b"{}")]
    with pytest.raises(OuterRefusal, match="answered 404"):
        fetched(gateway)
    gateway.faults.evidence_answers = [Plain(200, "application/json", bytes(100_000))]
    with pytest.raises(ClientError, match="more than any honest answer"):
        fetched(gateway)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({}, 0),
        ({"cache-control": "public, max-age=60"}, 60),
        ({"cache-control": "MAX-AGE=60", "age": "20"}, 40),
        ({"cache-control": "max-age=60", "age": "61"}, 0),
        ({"cache-control": "max-age=60", "age": "-5"}, 60),
        ({"cache-control": "max-age=-5"}, 0),
        ({"cache-control": "max-age=60, no-store"}, 0),
        ({"cache-control": "no-cache, max-age=60"}, 0),
        ({"cache-control": "max-age=999999999"}, 999_999_999),
        ({"cache-control": "max-age=1000000000"}, 1 << 31),
        ({"cache-control": "max-age=" + "9" * 5000}, 1 << 31),
        ({"cache-control": "max-age=60", "age": "9" * 5000}, 0),
    ],
)
def test_freshness(fields: dict[str, str], seconds: int) -> None:
    assert freshness(httpx.Headers(fields)) == seconds


NOON = 1_800_000_000.0


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"age": "7"}, 7),
        ({"age": "7", "date": formatdate(NOON - 60, usegmt=True)}, 7),
        ({"date": formatdate(NOON - 60, usegmt=True)}, 60),
        ({"date": formatdate(NOON + 60, usegmt=True)}, 0),  # by a clock that is ahead
        ({"date": "yesterday"}, None),
        ({}, None),
        ({"date": "Mon, 01 Jan 99999999999999 00:00:00 GMT"}, None),
        ({"date": "Mon, 01 Jan 2024 00:00:00 +9999999999999999"}, None),
    ],
)
def test_for_how_long_a_copy_was_kept(fields: dict[str, str], seconds: int | None) -> None:
    assert kept_seconds(httpx.Headers(fields), now=NOON) == seconds


def test_how_a_file_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    extensions = fetching()
    assert extensions == {
        "timeout": {"connect": 15.0, "read": 30.0, "write": 30.0, "pool": 30.0},
        "oblivious_deadline": 1030.0,
    }
    endpoint = Endpoint.parse(Role.RELAY, "https://relay.example/")
    request = next(fetch_copy(endpoint, fields=ANEW))
    assert isinstance(request, httpx.Request)
    assert request.extensions == extensions
    assert request.headers["cache-control"] == "no-cache"
    assert "cache-control" not in next(fetch_copy(endpoint)).headers  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fields", "old"), [({}, False), ({"age": "0"}, False), ({"age": "1"}, True)]
)
def test_what_a_relay_had_kept_may_be_old(fields: dict[str, str], old: bool) -> None:
    assert is_old(httpx.Response(200, headers=fields), NOON) is old

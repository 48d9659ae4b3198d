"""The token catalogue: what holds for its keys, epochs and prices, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import MalformedMessage, ProtocolError
from protocol.token_catalogue import (
    MAX_CATALOGUE_BYTES,
    MAX_EPOCHS,
    SKEW_SECONDS,
    Catalogue,
    CatalogueKey,
    Epoch,
    catalogue_hash,
)
from protocol.token_challenge import TokenChallenge
from protocol.token_prices import MAX_PRICES, Budget, PricePoint, Tariff
from tests.support.private_tokens import (
    PRICES,
    START,
    WEEK,
    catalogue,
    catalogue_keys,
    epoch,
    toy_key,
)

DATA = catalogue().encode()
C1 = PRICES[0]


def test_what_is_served_is_read() -> None:
    assert Catalogue.decode(DATA) == catalogue()
    assert Catalogue.decode(DATA).encode() == DATA
    assert len(DATA) < 10_000
    assert catalogue_hash(DATA) == hashlib.sha256(DATA).digest()


def test_members() -> None:
    members = json.loads(DATA)
    assert members["version"] == 1
    assert [each["price"] for each in members["keys"][:5]] == ["c1", "c4", "c16", "c64", "c1"]
    assert members["keys"][0]["issue_from"] == START
    assert members["models"]["small"] == {"free": True}
    budget = {"input_octets": 8192, "output_tokens": 512, "images": 0}
    assert members["models"]["large"]["c1"] == budget


def test_one_challenge_for_all_tokens() -> None:
    assert catalogue().challenge == TokenChallenge("issuer.example", "gateway.example", b"")


def test_keys_are_found_by_their_identifier() -> None:
    for each in catalogue().keys:
        assert catalogue().find(each.key.key_id) == each
    assert catalogue().find(toy_key(255).key_id) is None
    assert catalogue().find(b"") is None


@pytest.mark.parametrize(
    ("now", "at"),
    [
        (START - 1, None),
        (START, 0),
        (START + 4 * WEEK - 0.1, 0),
        (START + 4 * WEEK, 4),
        (START + 12 * WEEK - 1, 8),
        (START + 12 * WEEK, None),
    ],
)
def test_one_key_issues_at_a_time(now: float, at: int | None) -> None:
    expected = None if at is None else catalogue().keys[at]
    assert catalogue().issuing(C1, now) == expected
    assert catalogue().issuing(PricePoint(2), now) is None


@pytest.mark.parametrize(
    ("now", "taken"),
    [
        (START - SKEW_SECONDS - 1, False),
        (START - SKEW_SECONDS, True),
        (START + 8 * WEEK + SKEW_SECONDS - 1, True),
        (START + 8 * WEEK + SKEW_SECONDS, False),
    ],
)
def test_tokens_are_taken_in_their_time_and_skew(now: float, taken: bool) -> None:
    assert epoch(0).redeems(now) is taken
    assert epoch(0).redeems(START - 1, 0) is False
    assert epoch(0).issues(START - 1) is False


@pytest.mark.parametrize(
    "times", [(1, 1, 2), (2, 1, 3), (0, 2, 1), (-1, 1, 2), (0, 1, (1 << 37) + 1)], ids=str
)
def test_times_increase(times: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="increase"):
        Epoch(*times)
    members = json.loads(DATA)
    names = ("issue_from", "issue_until", "redeem_until")
    members["keys"][0].update(zip(names, times, strict=True))
    with pytest.raises(MalformedMessage):
        Catalogue.decode(json.dumps(members).encode())


def swap(keys: list[CatalogueKey], one: int, other: int) -> list[CatalogueKey]:
    keys[one], keys[other] = keys[other], keys[one]
    return keys


def put(keys: list[CatalogueKey], at: int, **changes: Any) -> list[CatalogueKey]:
    keys[at] = replace(keys[at], **changes)
    return keys


def many_prices(count: int) -> list[CatalogueKey]:
    return [CatalogueKey(PricePoint(at + 1), epoch(0), toy_key(at)) for at in range(count)]


OVERLAP = Epoch(START + 3 * WEEK, START + 8 * WEEK, START + 12 * WEEK)
SHORTER = Epoch(START + 4 * WEEK, START + 5 * WEEK, START + 6 * WEEK)

BAD_KEYS: dict[str, tuple[list[CatalogueKey], str]] = {
    "none": ([], "epochs"),
    "last octets alike": (put(catalogue_keys(), 3, key=toy_key(7)), "end alike"),
    "a key twice": ([*catalogue_keys(1), catalogue_keys(1)[0]], "end alike"),
    "seven epochs": (catalogue_keys(MAX_EPOCHS + 1), "epochs"),
    "a price at a time of its own": (put(catalogue_keys(1), 2, epoch=epoch(1)), "same"),
    "a price without a key": (catalogue_keys()[:-1], "same"),
    "another price": (put(catalogue_keys(), 7, price=PricePoint(65)), "same"),
    "an epoch in two parts": (swap(catalogue_keys(2), 0, 4), "same"),
    "prices in another order": (swap(catalogue_keys(1), 1, 2), "order"),
    "a price twice": (put(catalogue_keys(1), 1, price=C1), "twice"),
    "nine prices": (many_prices(MAX_PRICES + 1), "price points"),
    "epochs in another order": (catalogue_keys(2)[4:] + catalogue_keys(2)[:4], "order"),
    "epochs overlap": (
        catalogue_keys(1) + [replace(each, epoch=OVERLAP) for each in catalogue_keys(2)[4:]],
        "overlap",
    ),
    "a later epoch ends before": (
        catalogue_keys(1) + [replace(each, epoch=SHORTER) for each in catalogue_keys(2)[4:]],
        "order",
    ),
}


@pytest.mark.parametrize(("keys", "match"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_keys_that_lose_tokens_or_tell_buyers_apart(keys: list[CatalogueKey], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        catalogue(keys=keys, models={})


def test_as_many_as_there_may_be() -> None:
    assert len(catalogue(keys=many_prices(MAX_PRICES), models={}).keys) == MAX_PRICES
    keys = catalogue_keys(MAX_EPOCHS)
    assert Catalogue.decode(catalogue(keys=tuple(keys)).encode()) == catalogue(keys=tuple(keys))
    # A gap between two epochs, in which nobody can buy, is an operator's choice.
    assert (
        catalogue(keys=catalogue_keys(1) + catalogue_keys()[8:]).issuing(C1, START + 5 * WEEK)
        is None
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"issuer": ""},
        {"issuer": "Issuer.example"},
        {"issuer": "issuer.example,other.example"},
        {"issuer": "-a.example"},
        {"issuer": "a..example"},
        {"issuer": "a.example\n"},
        {"issuer": "a." * 127 + "ab"},
        {"origin": ""},
        {"origin": "gateway.example:443"},
        {"origin": "b" * 64},
        {"issuer_url": "http://issuer.example"},
        {"issuer_url": "https://issuer.example/"},
        {"issuer_url": "https://user@issuer.example"},
        {"issuer_url": "https://issuer.example:0"},
        {"issuer_url": "https://"},
        {"issuer_url": "https://issuer.example\n"},
        {"models": {"large": Tariff({PricePoint(2): Budget(1, 1)})}},
    ],
    ids=str,
)
def test_wrong_names_and_prices(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"names|https|price"):
        catalogue(**changes)


@pytest.mark.parametrize(
    "url", ["https://a.example:8443", "http://localhost:1", "http://127.0.0.1:65535", "https://a"]
)
def test_an_issuer_elsewhere_has_tls(url: str) -> None:
    assert catalogue(issuer_url=url).issuer_url == url


def change(*path: str | int, to: Any) -> Callable[[dict[str, Any]], None]:
    def apply(members: dict[str, Any]) -> None:
        at: Any = members
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = to

    return apply


@pytest.mark.parametrize(
    "apply",
    [
        change("version", to=2),
        change("version", to=True),
        change("version", to="1"),
        change("more", to=1),
        change("issuer", to=None),
        change("issuer", to="é"),
        change("issuer", to="two names"),
        change("keys", to={}),
        change("keys", to=[]),
        change("keys", to=[None]),
        change("keys", 0, to={}),
        change("keys", 0, "more", to=1),
        change("keys", 0, "price", to="free"),
        change("keys", 0, "token_key", to="AAAA"),
        change("keys", 0, "token_key", to=1),
        change("keys", 0, "issue_from", to=1.5),
        change("keys", 0, "issue_from", to=True),
        change("keys", 0, "issue_from", to="0"),
        change("keys", 0, "redeem_until", to=START),
        change("keys", 0, "redeem_until", to=START + 9 * WEEK),
        change("models", to=[]),
        change("models", "large", to={}),
        change("models", "large", "c2", to={"input_octets": 1, "output_tokens": 1, "images": 0}),
        lambda members: members.pop("origin"),
        lambda members: members["keys"][0].pop("price"),
    ],
    ids=range(25),
)
def test_what_is_no_catalogue_is_refused(apply: Callable[[dict[str, Any]], None]) -> None:
    members = json.loads(DATA)
    apply(members)
    with pytest.raises(MalformedMessage):
        Catalogue.decode(json.dumps(members).encode())


def test_every_truncation_and_more_is_refused() -> None:
    for data in (*(DATA[:end] for end in range(0, len(DATA), 97)), DATA[:-1], DATA + b"}"):
        with pytest.raises(MalformedMessage):
            Catalogue.decode(data)


def test_a_catalogue_has_a_largest_size() -> None:
    spaces = b" " * (MAX_CATALOGUE_BYTES - len(DATA))
    assert Catalogue.decode(DATA + spaces) == catalogue()
    with pytest.raises(MalformedMessage):
        Catalogue.decode(DATA + spaces + b" ")
    with pytest.raises(ValueError, match="longer"):
        catalogue(models={f"model-{at}": Tariff({}) for at in range(1000)}).encode()


@given(st.binary() | st.binary().map(lambda piece: DATA[: len(piece)] + piece))
def test_any_octets_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        Catalogue.decode(data)

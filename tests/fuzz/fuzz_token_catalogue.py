"""Token catalogues: what is read, written again, reads as the same and is safe to buy from."""

import json
from itertools import pairwise

from protocol.errors import MalformedMessage
from protocol.token_catalogue import MAX_CATALOGUE_BYTES, Catalogue
from protocol.token_prices import PricePoint
from tests.fuzz.faults import fails, replaced, slips
from tests.fuzz.reading import REFUSED, Refused, attempt
from tests.support.private_tokens import catalogue, catalogue_keys

MAX_BYTES = MAX_CATALOGUE_BYTES + 1024

FAULTS = (
    slips("protocol.token_catalogue._key", MalformedMessage),
    slips("protocol.token_prices.PricePoint.decode", MalformedMessage),
    fails("protocol.token_catalogue.Catalogue.find"),
    replaced("protocol.token_catalogue._require_epochs", lambda keys: None),
)


def seeds() -> list[bytes]:
    """Return good catalogues, and some with members that tell buyers apart."""
    good = [
        catalogue(keys=tuple(keys), models={}).encode()
        for keys in (catalogue_keys(1)[:1], catalogue_keys(1), catalogue_keys(2))
    ]
    short = catalogue(keys=tuple(catalogue_keys(1))).encode()
    changes = [
        ("keys", list(reversed(json.loads(short)["keys"]))),
        ("keys", json.loads(short)["keys"] * 2),
        ("keys", []),
        ("keys", [None]),
        ("models", {"large": {"c1": {}}, "small": {"free": 1}}),
        ("models", {"large": {"d1": {}}}),
        ("version", 2),
    ]
    odd = [json.dumps({**json.loads(short), name: to}).encode() for name, to in changes]
    return [*good, short, *odd]


def run(data: bytes) -> None:
    """Read a catalogue."""
    found = attempt(Catalogue.decode, data)
    if isinstance(found, Refused):
        return
    assert attempt(Catalogue.decode, data + b"}") is REFUSED
    assert Catalogue.decode(found.encode()) == found
    _check_keys(found)
    known = {each.price for each in found.keys}
    for tariff in found.models.values():
        assert set(tariff.budgets) <= known
        for cheaper, dearer in pairwise(sorted(tariff.budgets)):
            assert tariff.price(tariff.budgets[dearer]) == dearer
            assert tariff.budgets[dearer].covers(tariff.budgets[cheaper])


def _check_keys(found: Catalogue) -> None:
    assert len({each.key.key_id[-1] for each in found.keys}) == len(found.keys)
    assert all(found.find(each.key.key_id) == each for each in found.keys)
    epochs = sorted({each.epoch for each in found.keys})
    prices = [_prices(found, number) for number in range(len(epochs))]
    assert all(each == prices[0] for each in prices)
    for price in prices[0]:
        keys = [found.issuing(price, epoch.issue_from) for epoch in epochs]
        assert [each.epoch for each in keys if each] == epochs


def _prices(found: Catalogue, number: int) -> list[PricePoint]:
    epochs = sorted({each.epoch for each in found.keys})
    return [each.price for each in found.keys if each.epoch == epochs[number]]

"""What everybody is told of how many tokens were sold."""

from collections.abc import Mapping

import pytest

from tests.support.issuing import NOW, Shop, basket, key_for, key_ring
from tests.support.private_tokens import epoch
from token_issuer import crowd as module
from token_issuer.administration import issued_by_key
from token_issuer.crowd import CROWD_SECONDS, Sold, crowd, crowd_seconds, rounded
from token_issuer.ledger import Ledger

HOUR_END = NOW - NOW % CROWD_SECONDS + CROWD_SECONDS


def at_least(shop: Shop, now: float, price: int) -> int:
    wanted = key_for(price).key.key_id.hex()
    keys = crowd(Sold(shop.ledger), key_ring(), now)["keys"]
    (count,) = (key["at_least"] for key in keys if key["token_key_id"] == wanted)
    return int(count)


def test_a_purchase_shows_when_the_hour_is_over_and_not_before(shop: Shop) -> None:
    _, secret = shop.voucher(100)
    shop.buy(secret, basket(37).body)
    assert at_least(shop, HOUR_END - 1, 1) == 0
    assert at_least(shop, HOUR_END, 1) == 30
    assert at_least(shop, HOUR_END, 4) == 0


def test_keys_that_have_begun_are_told_of(shop: Shop) -> None:
    of_first = crowd(Sold(shop.ledger), key_ring(), NOW)["keys"]
    assert [key["price"] for key in of_first] == ["c1", "c4"]
    assert {key["issue_from"] for key in of_first} == {epoch(0).issue_from}
    assert {key["issue_until"] for key in of_first} == {epoch(0).issue_until}
    assert len(crowd(Sold(shop.ledger), key_ring(), epoch(1).issue_from)["keys"]) == 4


def test_the_answer_is_public_and_kept_until_the_hour_is_over(shop: Shop) -> None:
    shop.clock.now = HOUR_END - 60
    answer = shop.client.get("/crowd")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=60"
    assert answer.json == crowd(Sold(shop.ledger), key_ring(), shop.clock.now)
    assert crowd_seconds(HOUR_END) == CROWD_SECONDS


def test_who_asks_again_and_again_has_the_ledger_counted_once_an_hour(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int | None] = []

    def counting(ledger: Ledger, before: int | None = None) -> Mapping[str, int]:
        counted.append(before)
        return issued_by_key(ledger, before)

    monkeypatch.setattr(module, "issued_by_key", counting)
    client = shop.client
    for now in (HOUR_END - 1, HOUR_END, HOUR_END + 1, HOUR_END + CROWD_SECONDS - 1):
        shop.clock.now = now
        assert client.get("/crowd").status_code == 200
    assert counted == [HOUR_END - CROWD_SECONDS, HOUR_END]


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, 0), (9, 0), (10, 10), (49, 40), (50, 50), (999, 990), (1099, 1000), (98_765, 98_000)],
)
def test_counts_are_rounded_down(count: int, told: int) -> None:
    assert rounded(count) == told

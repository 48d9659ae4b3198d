"""What Prometheus is told of one process; `test_serving.py` asks several."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.support.issuing import Shop, basket, key_for, made_keys
from token_issuer.key_files import StoredKey
from token_issuer.metrics import Metrics


def test_outcomes_and_the_ledger_are_told(shop: Shop) -> None:
    metrics = Metrics()
    shop.more["metrics"] = metrics
    _, secret = shop.voucher(20)
    wanted = basket(2, price=4)
    for body in (wanted.body, wanted.body, b""):
        shop.buy(secret, body)
    keys = [StoredKey(entry, Path("/nowhere")) for entry, _ in made_keys()]
    told = metrics.exposition(shop.ledger, lambda: keys).decode()
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }
    assert samples["token_issuer_requests_total", "200", "tokens"] == 2
    assert samples["token_issuer_requests_total", "422", "tokens"] == 1
    assert samples["token_issuer_tokens_signed_total", "c4"] == 4
    assert samples["token_issuer_signing_seconds_total",] > 0
    assert samples["token_issuer_outstanding_units",] == 12
    assert samples["token_issuer_undecided_payments",] == 0
    assert key_for(4).price.units == 4
    assert samples["token_issuer_tokens_issued", "2025-12-01T00:00:00Z", "c4"] == 2
    assert samples["token_issuer_tokens_issued", "2025-12-29T00:00:00Z", "c4"] == 0
    assert len([key for key in samples if key[0] == "token_issuer_tokens_issued"]) == 4

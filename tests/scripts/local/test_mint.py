"""The issuer for trials: what it signs is a token like any other, and what it writes is read."""

from enclave_server.config import parse_config
from protocol.token_prices import Tariff
from scripts.local.mint import BUDGETS, PRICES, Mint, budgets_toml, epochs_around, make_keys
from tests.support.minting import issuer_keys

NOW = 1_800_000_000
MINT = Mint(epochs_around(NOW), keys=issuer_keys)


def test_tokens_verify_under_the_key_of_their_price_and_epoch() -> None:
    catalogue = MINT.catalogue({})
    for price in PRICES:
        for epoch in (0, 1):
            token = MINT.token(price, epoch)
            key = catalogue.find(token.token_key_id)
            assert key is not None
            assert (key.price, key.epoch) == (price, MINT.epochs[epoch])
            token.verify(key.key, catalogue.challenge.digest)
    assert len({MINT.field() for _ in range(20)}) == 20


def test_the_first_epoch_sells_now_and_the_second_later() -> None:
    first, second = MINT.epochs
    assert first.issues(NOW)
    assert not second.issues(NOW)
    assert second.issue_from == first.issue_until


def test_its_table_is_a_configuration() -> None:
    models = f"[[models]]\nname = 'm'\nupstream = 'u'\n{budgets_toml()}"
    upstream = "[upstreams.u]\naddress = 'unix:/a'\n"
    config = parse_config(MINT.toml(capacity="64") + models + upstream)
    assert config.catalogue == MINT.catalogue({"m": Tariff(BUDGETS)})
    assert config.tokens.capacity == 64


def test_new_keys_end_differently() -> None:
    assert len(make_keys(2)) == 2

"""The tables of tokens: what is refused, in one sentence each, and what becomes of the rest."""

import hashlib
import re
from collections.abc import Callable

import pytest

from enclave_server.config import ConfigError, parse_config
from enclave_server.tokens_table import LEASE_MARGIN_SECONDS, MAX_LEASE_SECONDS
from protocol import base64url
from protocol.token_catalogue import MAX_CATALOGUE_BYTES, Catalogue
from protocol.token_prices import Budget, PricePoint, Tariff
from tests.support.minting import BUDGETS, Mint, budgets_toml, epochs_around
from tests.support.private_tokens import PRICES, toy_key

MINT = Mint(epochs_around(1_800_000_000))
C1, C4, C16, C64 = PRICES
UPSTREAM = "[upstreams.u]\naddress = 'unix:/a'\n"
PAID = f"[[models]]\nname = 'm'\nupstream = 'u'\n{budgets_toml()}"
ADMINISTRATOR = "[provision]\nadministrator_key = 'O2onvM62pC1imrTyIx/I1lS0t3jZpdlD5rrm4Na9zRg='\n"


def text(
    tokens: str | None = None, models: str = PAID, upstreams: str = UPSTREAM, **settings: str
) -> str:
    return (MINT.toml(**settings) if tokens is None else tokens) + models + upstreams


def without(name: str) -> str:
    lines = [line for line in MINT.toml().splitlines() if not line.startswith(f"{name} =")]
    return "\n".join(lines) + "\n"


def test_a_good_one() -> None:
    config = parse_config(text())
    catalogue = config.catalogue
    assert catalogue == MINT.catalogue({"m": Tariff(BUDGETS)})
    assert catalogue is not None
    assert Catalogue.decode(catalogue.encode()) == catalogue
    assert config.tokens.store == "memory"
    assert config.lease_seconds == 1800 + LEASE_MARGIN_SECONDS


def test_nobody_pays_by_default() -> None:
    for config in (parse_config(""), parse_config(text(required="false"))):
        assert config.catalogue is None
        assert all(tariff.is_free for tariff in config.tariffs.values())
        assert config.wanted_secrets == frozenset()


def test_models_that_are_free_and_models_with_images() -> None:
    models = (
        "[[models]]\nname = 'free'\nupstream = 'u'\nfree = true\n"
        "[[models]]\nname = 'seeing'\nupstream = 'u'\nimage_octets = 100\n"
        "budgets.c4 = {input_octets = 10, output_tokens = 20, images = 3}\n"
    )
    catalogue = parse_config(text(models=models)).catalogue
    assert catalogue is not None
    assert catalogue.models == {
        "free": Tariff({}),
        "seeing": Tariff({C4: Budget(10, 20, 3)}, image_octets=100),
    }
    assert Catalogue.decode(catalogue.encode()).models == catalogue.models


def test_the_embedded_model_can_be_paid_for() -> None:
    models = f"[[models]]\nname = 'e'\nupstream = 'embedded'\n{budgets_toml()}"
    config = parse_config(text(models=models, upstreams=""))
    assert config.lease_seconds == 1860


@pytest.mark.parametrize(
    ("total", "lease", "expected"), [("30", None, 90), ("30.5", None, 91), ("30", "90", 90)]
)
def test_the_lease_is_a_minute_more_than_the_longest_answer(
    total: str, lease: str | None, expected: int
) -> None:
    upstreams = f"{UPSTREAM}total_seconds = {total}\n[upstreams.unpaid]\naddress = 'unix:/b'\n"
    upstreams += "total_seconds = 999999999\n"
    settings = {} if lease is None else {"lease_seconds": lease}
    assert parse_config(text(upstreams=upstreams, **settings)).lease_seconds == expected


def keys_with(change: Callable[[list[str]], list[str]]) -> str:
    """Return the table with its keys changed, each a block of text."""
    head, *keys = MINT.toml().split("[[tokens.keys]]\n")
    return "[[tokens.keys]]\n".join([head, *change(keys)])


def spki(octets: bytes) -> str:
    return base64url.encode(octets).decode()


def delayed(key: str) -> str:
    """Return a key whose time begins a second later."""
    return re.sub(r"(issue_from = .*):00Z", r"\1:01Z", key)


def swapped(key: str) -> str:
    """Return a key that signs until before it begins to."""
    times = r"issue_from = (.*)\nissue_until = (.*)"
    return re.sub(times, r"issue_from = \2\nissue_until = \1", key)


TAKEN = "[upstreams.spent-tokens]\naddress = 'unix:/b'\n"
KEY = MINT.keys[0].key.spki
TOY = toy_key(MINT.keys[1].key.truncated_id)  # another key of the second's ending
LONG = "x" * 200
MANY = "".join(
    f"[[models]]\nname = '{LONG}{number}'\nupstream = 'u'\n{budgets_toml()}" for number in range(60)
)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (text(without("issuer")), "needs tokens.issuer"),
        (text(without("issuer_url")), "needs tokens.issuer_url"),
        (text(without("origin")), "needs tokens.origin"),
        (text(keys_with(lambda keys: [])), "needs tokens.keys"),
        (text(keys_with(lambda keys: keys[4:] + keys[:4])), "not in order"),
        (text(keys_with(lambda keys: [keys[1], keys[0], *keys[2:]])), "same price points|in order"),
        (text(keys_with(lambda keys: keys[:-1])), "not the same price points"),
        (text(keys_with(lambda keys: [*keys, keys[0]])), "end alike"),
        (
            text(keys_with(lambda keys: [keys[0].replace(spki(KEY), spki(TOY.spki)), *keys[1:]])),
            "end alike",
        ),
        (
            text(keys_with(lambda keys: [delayed(keys[0]), *keys[1:]])),
            "not the same price points at the same times",
        ),
        (text(keys_with(lambda keys: [swapped(key) for key in keys])), "do not increase"),
        (text(keys_with(lambda keys: [keys[0].replace("Z", ""), *keys[1:]])), "timezone"),
        (
            text(keys_with(lambda keys: [keys[0].replace("Z", ".5Z"), *keys[1:]])),
            "whole seconds",
        ),
        (text(MINT.toml().replace("'c1'", "'x1'", 1)), "not the name of a price point"),
        (text(MINT.toml().replace(spki(KEY), "A" * 456)), "not a key of token type 2"),
        (text(MINT.toml().replace(spki(KEY), "!" + spki(KEY)[1:])), "not base64url"),
        (
            text(MINT.toml().replace(spki(KEY), spki(KEY[:-5] + b"\2\1\3"))),
            "not a key of token type 2",  # e = 3
        ),
        (text(issuer="'Issuer.Example'"), "lower case"),
        (text(issuer=f"'{'a.' * 93}a'"), "at most 200 characters together"),
        (text(issuer_url="'http://issuer.example'"), "issuer_url"),
        (text(models="[[models]]\nname = 'm'\nupstream = 'u'\n"), "has to be free"),
        (text(models=PAID + "free = true\n"), "and not both"),
        (text(models=PAID.replace("c16", "c3")), "do not grow"),
        (text(models=PAID.replace("c64", "c63")), "no keys"),
        (text(models=PAID.replace("c64", "gold")), "not the name"),
        (text(models=PAID.replace("output_tokens = 512,", "output_tokens = -1,")), "negative"),
        (text(models=PAID + "image_octets = -1\n"), "image"),
        (text(models=MANY), f"longer than {MAX_CATALOGUE_BYTES}"),
        (text(lease_seconds="1859"), "at least 1860"),
        (text(lease_seconds="0"), "lease_seconds must be from"),
        (text(lease_seconds="604801"), "lease_seconds must be from"),
        (text(upstreams=UPSTREAM + "total_seconds = inf\n"), "too long"),
        (text(skew_seconds="601"), "skew_seconds must be from"),
        (text(skew_seconds="-1"), "skew_seconds must be from"),
        (text(capacity="0"), "capacity must be from"),
        (text(store="'redis'"), "store_address"),
        (text(store_address="'unix:/a'"), "store_address"),
        (text(store="'redis'", store_address="'redis://a'"), "not an address"),
        (text(store="'disk'"), "Invalid enum value"),
        (text() + "[chat]\nbare_json = true\n", "bare_json has no place for a token"),
        (text(nullifier_key_provisioned="true"), "needs provision.administrator_key"),
        (
            text(upstreams=UPSTREAM + TAKEN),
            "spent-tokens is taken",
        ),
        (text(unknown="1"), "unknown field `unknown`"),
    ],
)
def test_each_wrong_one_is_refused_with_its_sentence(config: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence) as caught:
        parse_config(config)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_bare_json_goes_with_models_that_are_free() -> None:
    models = "[[models]]\nname = 'm'\nupstream = 'u'\nfree = true\n"
    config = parse_config(text(models=models) + "[chat]\nbare_json = true\n")
    assert config.catalogue is not None


def test_the_key_of_nullifiers_is_wanted_of_the_administrator() -> None:
    config = parse_config(text(nullifier_key_provisioned="true") + ADMINISTRATOR)
    assert config.wanted_secrets == {"spent-tokens"}


def test_the_catalogue_is_the_same_octets_at_every_start() -> None:
    hashes = set()
    for _ in range(2):
        catalogue = parse_config(text()).catalogue
        assert catalogue is not None
        hashes.add(hashlib.sha256(catalogue.encode()).digest())
    assert len(hashes) == 1


def test_prices_are_those_of_the_file() -> None:
    config = parse_config(text())
    assert config.tariffs["m"].price(Budget(8193, 1)) == PricePoint(4)


def test_a_cluster_that_takes_tokens_needs_a_store_for_all() -> None:
    cluster = "[cluster]\nenabled = true\n"
    redis = text(store="'redis'", store_address="'unix:/redis'")
    assert parse_config(redis + cluster).cluster.enabled
    assert parse_config(text(required="false") + cluster).cluster.enabled
    assert parse_config(text())
    with pytest.raises(ConfigError, match=r"tokens\.store must be redis"):
        parse_config(text() + cluster)


def test_a_budget_that_names_no_images_has_none() -> None:
    models = (
        "[[models]]\nname = 'm'\nupstream = 'u'\n"
        "budgets.c4 = {input_octets = 10, output_tokens = 20}\n"
    )
    catalogue = parse_config(text(models=models)).catalogue
    assert catalogue is not None
    assert catalogue.models == {"m": Tariff({C4: Budget(10, 20, 0)})}


@pytest.mark.parametrize(("more", "works"), [(0, True), (1, False)])
def test_an_upstream_may_take_as_long_as_a_token_can_be_held(more: int, works: bool) -> None:
    total = MAX_LEASE_SECONDS - LEASE_MARGIN_SECONDS + more
    config = text(upstreams=f"{UPSTREAM}total_seconds = {total}\n")
    if works:
        assert parse_config(config).lease_seconds == MAX_LEASE_SECONDS
        return
    with pytest.raises(ConfigError, match="too long"):
        parse_config(config)


def test_the_key_of_spent_tokens_is_wanted_beside_those_of_upstreams() -> None:
    upstreams = f"{UPSTREAM}key_provisioned = true\n"
    settings = {"store": "'redis'", "store_address": "'unix:/r'"}
    for wanted in (False, True):
        more = {"nullifier_key_provisioned": str(wanted).lower()}
        config = parse_config(ADMINISTRATOR + text(upstreams=upstreams, **settings, **more))
        assert config.wanted_secrets == {"u"} | ({"spent-tokens"} if wanted else set())

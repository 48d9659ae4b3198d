"""The configuration: what is taken, and one sentence for what is not."""

import re
from pathlib import Path

import pytest

from token_issuer.settings import (
    Settings,
    SettingsError,
    StripeSettings,
    X402Settings,
    read_settings,
)

ISSUER_MD = Path(__file__).resolve().parents[2] / "docs/issuer.md"
LEAST = 'database = "sqlite:////l"\nkeys = "/k"\n'
STRIPE = '[stripe]\nsecret_file = "/s"\ncurrency = "eur"\nminor_per_unit = 5\n'

ADDRESS = "0x036CbD53842c5426634e7929541eC2318f3dCF7e"
X402 = f"""[x402]
facilitator = "https://f.example/a"
issuer_url = "https://i.example"
network = "eip155:84532"
asset = "{ADDRESS}"
asset_name = "USDC"
asset_version = "2"
pay_to = "{ADDRESS}"
amount_per_unit = 50000
packs = [100, 500]
"""


def read(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "issuer.toml"
    path.write_text(text)
    return read_settings(path)


def test_two_settings_are_enough(tmp_path: Path) -> None:
    settings = read(tmp_path, LEAST)
    assert settings == Settings(database="sqlite:////l", keys=Path("/k"))
    assert (settings.listen, settings.metrics, settings.workers) == ("127.0.0.1:8600", None, 2)
    assert (settings.tokens_per_minute, settings.stripe) == (6000, None)


def test_all_settings(tmp_path: Path) -> None:
    more = 'listen = "unix:/a"\nmetrics = "127.0.0.1:9600"\nworkers = 8\ntokens_per_minute = 1\n'
    settings = read(tmp_path, LEAST + more + STRIPE + X402)
    assert (settings.listen, settings.metrics) == ("unix:/a", "127.0.0.1:9600")
    assert (settings.workers, settings.tokens_per_minute) == (8, 1)
    expected = StripeSettings(secret_file=Path("/s"), currency="eur", minor_per_unit=5)
    assert settings.stripe == expected
    assert settings.x402 == X402Settings(
        facilitator="https://f.example/a",
        issuer_url="https://i.example",
        network="eip155:84532",
        asset=ADDRESS,
        asset_name="USDC",
        asset_version="2",
        pay_to=ADDRESS,
        amount_per_unit=50000,
        packs=(100, 500),
    )


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "http://localhost:9/a", "http://[::1]:9", "https://a.example"]
)
def test_facilitators_that_may_be_believed(tmp_path: Path, address: str) -> None:
    settings = read(tmp_path, LEAST + X402.replace("https://f.example/a", address))
    assert settings.x402 is not None
    assert settings.x402.facilitator == address


def test_payments_may_be_described_at_some_length(tmp_path: Path) -> None:
    longest = X402.replace('"USDC"', f'"{"n" * 64}"').replace('"2"', f'"{"v" * 16}"')
    packs = [*range(1, 16), 1_000_000]
    settings = read(tmp_path, LEAST + longest.replace("[100, 500]", str(packs))).x402
    assert settings is not None
    assert (len(settings.asset_name), len(settings.asset_version)) == (64, 16)
    assert settings.packs == tuple(packs)


def test_numbers_may_be_at_their_ends(tmp_path: Path) -> None:
    for workers, tokens in ((1, 1), (256, 10_000_000)):
        more = f"workers = {workers}\ntokens_per_minute = {tokens}\n"
        settings = read(tmp_path, LEAST + more + STRIPE.replace("5", "1"))
        assert (settings.workers, settings.tokens_per_minute) == (workers, tokens)
        assert settings.stripe is not None
        assert settings.stripe.minor_per_unit == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "database"),
        ("database", "Expected"),
        ('database = "a"', "keys"),
        (LEAST + 'listener = "a"', "listener"),
        (LEAST.replace('"/k"', "1"), "keys"),
        (LEAST.replace('"/k"', '""'), "not a path"),
        (LEAST + "workers = 0", "workers"),
        (LEAST + "workers = 257", "workers"),
        (LEAST + 'workers = "2"', "workers"),
        (LEAST + "tokens_per_minute = 10_000_001", "tokens_per_minute"),
        (LEAST + "tokens_per_minute = 0", "tokens_per_minute"),
        (LEAST + 'metrics = "127.0.0.1:8600"', "port of their own"),
        (LEAST + 'listen = "unix:/a"\nmetrics = "unix:/a"', "port of their own"),
        (LEAST + STRIPE.replace("eur", "EUR"), "currency"),
        (LEAST + STRIPE.replace("5", "0"), "minor_per_unit"),
        (LEAST + "[stripe]", "secret_file"),
        (LEAST + "[x402]", "facilitator"),
        (LEAST + X402.replace("https://f.", "http://f."), "facilitator"),
        (LEAST + X402.replace("https://f.", "http://127.0.0.1."), "facilitator"),
        (LEAST + X402.replace("https://f.", "http://localhost@f."), "facilitator"),
        (LEAST + X402.replace("https://f.", "http://localhost:1@f."), "facilitator"),
        (LEAST + X402.replace("https://f.", "http://127.0.0.1:a@f."), "facilitator"),
        (LEAST + X402.replace("https://f.", "https://name:word@f."), "facilitator"),
        (LEAST + X402.replace("https://f.example/a", ""), "facilitator"),
        (LEAST + X402.replace("https://i.example", "i.example"), "issuer_url"),
        (LEAST + X402.replace("eip155:84532", "base"), "network"),
        (LEAST + X402.replace("eip155:84532", "eip155:0"), "network"),
        (LEAST + X402.replace("eip155:84532", "solana:mainnet"), "network"),
        (LEAST + X402.replace(f'asset = "{ADDRESS}"', 'asset = "0x0"'), "asset"),
        (LEAST + X402.replace(f'pay_to = "{ADDRESS}"', 'pay_to = ""'), "pay_to"),
        (LEAST + X402.replace('"USDC"', '""'), "asset_name"),
        (LEAST + X402.replace('"USDC"', f'"{"n" * 65}"'), "asset_name"),
        (LEAST + X402.replace('"2"', '""'), "asset_version"),
        (LEAST + X402.replace('"2"', f'"{"v" * 17}"'), "asset_version"),
        (LEAST + X402.replace("50000", "0"), "amount_per_unit"),
        (LEAST + X402.replace("[100, 500]", str([*range(1, 18)])), "packs"),
        (LEAST + X402.replace("[100, 500]", "[]"), "packs"),
        (LEAST + X402.replace("[100, 500]", "[0]"), "packs"),
        (LEAST + X402.replace("[100, 500]", "[1000001]"), "packs"),
        (LEAST + X402 + "more = 1", "more"),
        (LEAST + "\N{SNOWMAN}".encode().decode("latin-1"), "issuer.toml"),
    ],
)
def test_settings_that_are_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        read(tmp_path, text)


def test_the_documents_have_every_setting_and_its_default(tmp_path: Path) -> None:
    table = re.findall(r"^\| `([a-z0-9_\[\]]+)` \| (\S+) \|", ISSUER_MD.read_text(), re.MULTILINE)
    told = {name.strip("[]"): default.strip("`") for name, default in table}
    settings = read(tmp_path, LEAST)
    assert told.keys() == {*Settings.__struct_fields__}
    for name, default in told.items():
        if default != "\N{EN DASH}":
            assert str(getattr(settings, name)) == default


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings(tmp_path / "issuer.toml")

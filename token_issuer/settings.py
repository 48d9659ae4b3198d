"""The configuration file of an issuer, in TOML."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

_Positive = Annotated[int, Meta(ge=1)]
_Pack = Annotated[int, Meta(ge=1, le=1_000_000)]
_ADDRESS = r"\A0x[0-9a-fA-F]{40}\Z"
# Without "@": what stands before it would be no host, and be shown where an address is told.
_PARTNER = (
    r"\A(?:https://[!-?A-~]{1,200}"
    r"|http://(?:127\.0\.0\.1|localhost|\[::1\])[:/][!-?A-~]{1,200})\Z"
)


class SettingsError(Exception):
    """The configuration cannot be used; one sentence says why."""


class StripeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Payments that a provider tells of as Stripe does."""

    secret_file: Path
    """In which the endpoint's signing secret stands, `whsec_...`."""
    currency: Annotated[str, Meta(pattern=r"\A[a-z]{3}\Z")]
    minor_per_unit: _Positive
    """What a unit costs, in the currency's smallest amount: 5 of `eur` are 0.05 euros."""


class X402Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Payments on a chain, by x402 version 2: the scheme `exact`, with EIP-3009."""

    facilitator: Annotated[str, Meta(pattern=_PARTNER)]
    """Who verifies and settles payments. Its word is money: only this machine's may lack TLS."""
    facilitator_secret_file: Path | None = None
    """In which the bearer token stands that it wants, if it wants one."""
    issuer_url: Annotated[str, Meta(pattern=r"\Ahttps?://[!-~]{1,200}\Z")]
    """Where buyers find the issuer; payers are shown it."""
    network: Annotated[str, Meta(pattern=r"\Aeip155:[1-9][0-9]{0,17}\Z")]
    """The chain (CAIP-2), such as `eip155:8453`."""
    asset: Annotated[str, Meta(pattern=_ADDRESS)]
    """The contract of the currency, which has to have `transferWithAuthorization`."""
    asset_name: Annotated[str, Meta(min_length=1, max_length=64)]
    """Of its EIP-712 domain, as is the version: payers sign both."""
    asset_version: Annotated[str, Meta(min_length=1, max_length=16)]
    pay_to: Annotated[str, Meta(pattern=_ADDRESS)]
    """Who is paid."""
    amount_per_unit: _Positive
    """What a unit costs, in the currency's smallest amount."""
    packs: Annotated[tuple[_Pack, ...], Meta(min_length=1, max_length=16)]
    """How many units can be bought at once: few, as equal payments look alike."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All settings; what has no default has to be there."""

    database: str
    """`sqlite:////absolute/path`, or `postgresql://user@host/name`."""
    keys: Path
    """The directory of the issuing keys."""
    listen: str = "127.0.0.1:8600"
    """`address:port`, or `unix:path`; a front with TLS stands before it."""
    metrics: str | None = None
    """Where Prometheus may ask, in the same form."""
    workers: Annotated[int, Meta(ge=1, le=256)] = 2
    """Processes, each of which signs one batch at a time: as many as processors."""
    tokens_per_minute: Annotated[int, Meta(ge=1, le=10_000_000)] = 6000
    """What one account may have signed in a minute, repetitions included, and at once."""
    stripe: StripeSettings | None = None
    x402: X402Settings | None = None


def read_settings(path: Path) -> Settings:
    """Return the settings in a file, or raise SettingsError."""
    try:
        settings = msgspec.toml.decode(path.read_bytes(), type=Settings, dec_hook=_decode)
    except OSError as error:
        advice = "Name another file with --config, or in TOKEN_ISSUER_CONFIG."
        raise SettingsError(f"{path} cannot be read: {error.strerror}. {advice}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}.") from None
    if settings.metrics is not None and _port(settings.metrics) == _port(settings.listen):
        raise SettingsError(f"{path}: metrics need a port of their own.")
    return settings


def _decode(kind: type, value: object) -> object:
    """Return a path, which is the one type here that TOML has not."""
    if kind is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError("not a path")


def _port(address: str) -> str:
    return address if address.startswith("unix:") else address.rpartition(":")[2]

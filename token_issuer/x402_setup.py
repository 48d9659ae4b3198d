"""Payments by x402 where they are configured; elsewhere nothing of that package is imported."""

from typing import TYPE_CHECKING

from token_issuer.ledger import Ledger
from token_issuer.log import Log
from token_issuer.settings import Settings, SettingsError, X402Settings

if TYPE_CHECKING:
    from token_issuer.x402_desk import Desk

EXTRA = ("httpx", "nest_asyncio", "pydantic", "x402")


def open_desk(settings: Settings, ledger: Ledger, log: Log | None = None) -> "Desk | None":
    """Return who takes payments, or None; SettingsError without its packages or its secret."""
    asked = settings.x402
    if asked is None:
        return None
    try:
        from token_issuer.x402_desk import Desk
        from token_issuer.x402_facilitator import Facilitator
    except ModuleNotFoundError as missing:
        package = (missing.name or "").partition(".")[0]
        if package not in EXTRA:
            raise
        raise SettingsError(
            f"[x402] needs {package}, which is missing: "
            "install its packages with pip install '.[issuer,x402]' in a checkout."
        ) from None
    facilitator = Facilitator(asked.facilitator, _secret(asked))
    # One process stays free to sign while facilitators are slow.
    return Desk(asked, ledger, facilitator, at_once=max(1, settings.workers - 1), log=log)


def _secret(asked: X402Settings) -> str | None:
    path = asked.facilitator_secret_file
    if path is None:
        return None
    try:
        secret = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not of ASCII.") from None
    if not secret or not secret.isprintable():
        raise SettingsError(f"{path} is empty, or has more than a secret.")
    return secret

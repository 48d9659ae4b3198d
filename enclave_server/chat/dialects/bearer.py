"""How an account is named in HTTP fields by OpenAI, and by the many who do as it does."""

from enclave_server.chat.dialects.dialect import Account
from protocol.binary_http import Fields

ACCOUNT_FIELDS = {"organization": b"OpenAI-Organization", "project": b"OpenAI-Project"}


def account_fields(account: Account) -> Fields:
    """Return the fields that say who pays; settings of other accounts are none."""
    settings = tuple(
        (ACCOUNT_FIELDS[name], value.encode("ascii"))
        for name, value in sorted(account.settings.items())
        if name in ACCOUNT_FIELDS
    )
    if account.key is None:
        return settings
    return ((b"Authorization", b"Bearer " + account.key.encode("ascii")), *settings)

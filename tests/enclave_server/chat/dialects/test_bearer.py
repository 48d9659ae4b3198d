"""Who pays is said in HTTP fields, in one order."""

from enclave_server.chat.dialects.bearer import account_fields
from enclave_server.chat.dialects.dialect import Account


def test_key_comes_first_and_settings_follow_by_name() -> None:
    settings = {"project": "p", "organization": "o", "region": "r"}
    named = ((b"OpenAI-Organization", b"o"), (b"OpenAI-Project", b"p"))
    assert account_fields(Account("k", settings)) == ((b"Authorization", b"Bearer k"), *named)
    assert account_fields(Account(settings=settings)) == named
    assert account_fields(Account()) == ()

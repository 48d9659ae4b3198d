"""What every dialect is given."""

from enclave_server.chat.dialects.dialect import Account


def test_an_account_prints_no_secret() -> None:
    assert repr(Account("sk-secret", {"project": "p-secret"})) == "Account()"


def test_an_account_may_be_nobody_s() -> None:
    assert (Account().key, Account().settings) == (None, {})

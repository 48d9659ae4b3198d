"""Secrets of accounts: how they look, and how they are known again."""

import re

from hypothesis import given
from hypothesis import strategies as st

from token_issuer.account_secret import new_secret, secret_digest


@given(st.binary(min_size=17, max_size=17))
def test_a_secret_has_130_bits_in_26_characters(octets: bytes) -> None:
    secret = new_secret(lambda size: octets[:size])
    assert re.fullmatch(r"OBL-[A-Z2-7]{26}", secret)
    other = octets[:16] + bytes([octets[16] ^ 0x40])
    assert new_secret(lambda size: other[:size]) != secret


def test_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_capitals_and_spaces_do_not_matter_and_all_else_does() -> None:
    secret = new_secret()
    assert secret_digest(f"  {secret[:10].lower()} {secret[10:]}\n") == secret_digest(secret)
    for at in range(len(secret)):
        other = "7" if secret[at] != "7" else "6"
        assert secret_digest(secret[:at] + other + secret[at + 1 :]) != secret_digest(secret)

"""Secrets of accounts: how they look, and how they are known again."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from token_issuer.account_secret import LEAST_DIFFERENT, is_secret, new_secret, secret_digest


@given(st.binary(min_size=17, max_size=17))
def test_a_secret_has_130_bits_in_26_characters(octets: bytes) -> None:
    secret = new_secret(lambda size: octets[:size])
    assert re.fullmatch(r"OBL-[A-Z2-7]{26}", secret)
    other = octets[:16] + bytes([octets[16] ^ 0x40])
    assert new_secret(lambda size: other[:size]) != secret


@given(st.binary(min_size=17, max_size=17))
def test_what_was_drawn_is_known_from_what_was_typed(octets: bytes) -> None:
    secret = new_secret(lambda size: octets[:size])
    assert is_secret(secret) == (len(set(secret[4:])) >= LEAST_DIFFERENT)
    assert is_secret(f" {secret.lower()} ") == is_secret(secret)


def test_a_secret_of_nine_different_characters_is_taken_and_of_eight_is_not() -> None:
    assert is_secret("OBL-" + "ABCDEFGHI" + "A" * 17)
    assert not is_secret("OBL-" + "ABCDEFGH" + "A" * 18)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "OBL-",
        "OBL-ABCDEFGHIJKLMNOPQRSTUVWXY",
        "OBL-ABCDEFGHIJKLMNOPQRSTUVWXYZA",
        "OBL-ABCDEFGHIJKLMNOPQRSTUVWXY1",
        "OBM-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "OBL-ABCDEFGHIJKLMNOPQRSTUVWXY\N{FULLWIDTH LATIN CAPITAL LETTER Z}",
    ],
)
def test_texts_that_are_no_secrets(text: str) -> None:
    assert not is_secret(text)


def test_secrets_differ() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_capitals_and_spaces_do_not_matter_and_all_else_does() -> None:
    secret = new_secret()
    assert secret_digest(f"  {secret[:10].lower()} {secret[10:]}\n") == secret_digest(secret)
    for at in range(len(secret)):
        other = "7" if secret[at] != "7" else "6"
        assert secret_digest(secret[:at] + other + secret[at + 1 :]) != secret_digest(secret)

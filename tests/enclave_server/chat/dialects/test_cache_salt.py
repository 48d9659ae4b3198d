"""No two requests have one salt, nor one that could be guessed."""

import base64

from enclave_server.chat.dialects.cache_salt import SALT_OCTETS, fresh_salt


def test_salts_are_fresh_and_long() -> None:
    salts = {fresh_salt() for _ in range(100)}
    assert len(salts) == 100
    assert {len(base64.urlsafe_b64decode(salt + "==")) for salt in salts} == {SALT_OCTETS}
    assert SALT_OCTETS >= 16

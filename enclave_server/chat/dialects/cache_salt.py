"""What keeps apart what a server has cached of prompts: a secret of each request."""

import secrets

SALT_OCTETS = 16


def fresh_salt() -> str:
    """Return a salt that no other request has."""
    return secrets.token_urlsafe(SALT_OCTETS)

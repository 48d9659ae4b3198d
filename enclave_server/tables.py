"""What the tables of the configuration have in common."""

import msgspec


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file: immutable, and without room for unknown keys."""


def require(condition: object, sentence: str) -> None:
    """Raise ValueError unless `condition` holds."""
    if not condition:
        raise ValueError(sentence)

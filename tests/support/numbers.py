"""The numbers that modules give a name."""

import importlib
from collections.abc import Mapping

Numbers = Mapping[str, Mapping[str, float]]
"""By module and name."""


def number_of(module: str, name: str) -> float:
    """Return the number of that name; a name that is gone is an AttributeError."""
    number: float = getattr(importlib.import_module(module), name)
    return number

"""What tables of the configuration have in common."""

import msgspec
import pytest

from enclave_server.tables import Table, require


class Example(Table, frozen=True):
    """A table."""

    a: int = 1


def test_unknown_keys_are_refused_and_values_stay() -> None:
    assert msgspec.convert({}, Example) == Example()
    with pytest.raises(msgspec.ValidationError, match="unknown field `b`"):
        msgspec.convert({"b": 1}, Example)
    with pytest.raises(AttributeError):
        Example().a = 2  # type: ignore[misc]


def test_what_is_required() -> None:
    require("anything", "")
    with pytest.raises(ValueError, match="a sentence"):
        require([], "a sentence")

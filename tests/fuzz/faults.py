"""Faults: parsers made wrong on purpose, to see that a harness notices."""

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest import mock


class Slip(Exception):
    """An error that no parser may raise."""


@dataclass(frozen=True)
class Fault:
    """A name in a module of the product, and how what it stands for is spoiled."""

    target: str
    spoil: Callable[[Any], Any]

    def __str__(self) -> str:
        return self.target

    def applied(self) -> AbstractContextManager[object]:
        """Return a context in which the product has this fault."""
        path, _, name = self.target.rpartition(".")
        owner = _find(path)
        return mock.patch.object(owner, name, self.spoil(getattr(owner, name)))


def _find(path: str) -> Any:
    """Return the module, or the class in a module, of that path."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        outer, _, name = path.rpartition(".")
        return getattr(_find(outer), name)


def slips(target: str, *errors: type[Exception]) -> Fault:
    """Return the fault that an error, of these types or of any, becomes one of no known type."""

    caught = errors or (Exception,)

    def spoil(sound: Callable[..., Any]) -> Callable[..., Any]:
        def slipping(*arguments: Any, **options: Any) -> Any:
            try:
                return sound(*arguments, **options)
            except caught as error:
                raise Slip from error

        return slipping

    return Fault(target, spoil)


def fails(target: str) -> Fault:
    """Return the fault that `target` raises, whatever it is given."""
    return replaced(target, mock.Mock(side_effect=Slip))


def returns(target: str, change: Callable[[Any], Any]) -> Fault:
    """Return the fault that `target` returns something else than it should."""

    def spoil(sound: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*arguments: Any, **options: Any) -> Any:
            return change(sound(*arguments, **options))

        return changed

    return Fault(target, spoil)


def replaced(target: str, stand_in: Any) -> Fault:
    """Return the fault that something else stands in the place of `target`."""
    return Fault(target, lambda sound: stand_in)

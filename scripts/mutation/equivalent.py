"""Places where a change makes no difference to anybody, each with its reason.

`equivalent.toml` names a module, a line of it and the kind of change, and where only one change of
that kind makes none, what it becomes. A line that is not there any more is an error, so that no
reason outlives what it is about.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.mutation.mutants import Mutant

FILE = Path("scripts/mutation/equivalent.toml")


class NotThere(Exception):
    """The file names a line that its module does not have; the text says which."""


@dataclass(frozen=True, slots=True)
class Equivalents:
    """By module the lines, without their indentation, the kinds of change, and what it becomes.

    What it becomes is empty where any change of the kind makes no difference.
    """

    lines: Mapping[str, frozenset[tuple[str, str, str]]]

    @classmethod
    def of(cls, root: Path) -> "Equivalents":
        """Read a checkout's file, if it has one."""
        if not (root / FILE).is_file():
            return cls({})
        listed = tomllib.loads((root / FILE).read_text(encoding="utf-8"))["place"]
        lines: dict[str, set[tuple[str, str, str]]] = {}
        for each in listed:
            place = (each["line"], each["kind"], each.get("becomes", ""))
            lines.setdefault(each["module"], set()).add(place)
        return cls({module: frozenset(found) for module, found in lines.items()})

    def without(self, module: str, source: bytes, found: Iterable[Mutant]) -> Iterator[Mutant]:
        """Yield the changes of a module that could make a difference; raise NotThere."""
        texts = [line.strip() for line in source.decode().splitlines()]
        listed = self.lines.get(module, frozenset())
        for line, _, _ in listed:
            if line not in texts:
                raise NotThere(f"{FILE}: {module} has no line {line!r}")
        for each in found:
            line = texts[each.line - 1]
            if not {(line, each.kind, ""), (line, each.kind, each.text)} & listed:
                yield each

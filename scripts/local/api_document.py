"""Writes docs/api.md out of the docstrings and signatures of what `oblivious_client` exports."""

import enum
import inspect
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oblivious_client

DOCUMENT = Path(__file__).parents[2] / "docs" / "api.md"

_HEAD = """\
# The client in Python

What `import oblivious_client` offers, written by `scripts/api-docs` out of the docstrings.
`oblivious-client --help` describes the command line.
"""

_SHOWN = ("__iter__", "__aiter__")


def document() -> str:
    """Return the whole document: what is used, by its name, and then what is raised."""
    names = sorted(oblivious_client.__all__, key=lambda name: (_is_error(_of(name)), name.lower()))
    return "\n".join([_HEAD, *map(_entry, names)])


def main() -> int:
    """Write the document; return the exit code."""
    DOCUMENT.write_text(document(), encoding="utf-8")
    return 0


def _of(name: str) -> Any:
    return getattr(oblivious_client, name)


def _is_error(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


def _entry(name: str) -> str:
    value = _of(name)
    if _is_error(value):
        lines = _error(value)
    elif isinstance(value, type) and issubclass(value, enum.Enum):
        lines = _enumeration(value)
    elif isinstance(value, type):
        lines = _class(value)
    else:
        lines = iter([*_code(_called(value)), inspect.getdoc(value) or ""])
    return "\n".join([f"## {name}", "", *lines, ""])


def _error(kind: type) -> Iterator[str]:
    bases = ", ".join(base.__name__ for base in kind.__bases__)
    yield from _code(f"class {kind.__name__}({bases})")
    yield inspect.getdoc(kind) or ""


def _enumeration(kind: type[enum.Enum]) -> Iterator[str]:
    yield inspect.getdoc(kind) or ""
    yield ""
    for member in kind:
        meaning = getattr(member, "meaning", "")
        name = f"- `{kind.__name__}.{member.name}`"
        yield f"{name} ({member.value}): {meaning}" if meaning else name


def _class(kind: type) -> Iterator[str]:
    yield from _code(_called(kind))
    yield inspect.getdoc(kind) or ""
    members = [_member(name, value) for name, value in vars(kind).items() if _is_shown(name, value)]
    yield from ["", *members] if members else []


def _is_shown(name: str, member: object) -> bool:
    is_described = isinstance(member, types.FunctionType | property) and inspect.getdoc(member)
    return bool(is_described) and (not name.startswith("_") or name in _SHOWN)


def _member(name: str, member: Any) -> str:
    shown = name if isinstance(member, property) else _called(member).replace("self, ", "", 1)
    text = " ".join((inspect.getdoc(member) or "").split())
    return f"- `{shown.replace('(self)', '()')}`: {text}"


def _called(value: Callable[..., Any]) -> str:
    """Return how `value` is called, as its source says it: annotations are texts there."""
    signature = inspect.signature(value)
    parts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        parts.append(_parameter(parameter))
    prefix = "async " if inspect.iscoroutinefunction(value) else ""
    called = f"{prefix}{value.__name__}({', '.join(parts)})"
    returned = signature.return_annotation
    return called if isinstance(value, type) else f"{called} -> {returned}"


def _parameter(parameter: inspect.Parameter) -> str:
    stars = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
    annotation = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
    return f"{stars}{parameter.name}{annotation}{_default(parameter)}"


def _default(parameter: inspect.Parameter) -> str:
    default = parameter.default
    if default is parameter.empty:
        return ""
    if isinstance(default, enum.Enum):
        return f" = {type(default).__name__}.{default.name}"
    if inspect.isroutine(default):  # its repr is of one process
        return f" = {default.__name__}"
    # A field with a factory: the class that its annotation names makes it.
    made = repr(default)
    return f" = {parameter.annotation}()" if made == "<factory>" else f" = {made}"


def _code(text: str) -> list[str]:
    return ["```python", text, "```", ""]


if __name__ == "__main__":
    sys.exit(main())

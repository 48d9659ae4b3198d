"""Calls that come in pieces, put together: each piece tells one value, and by a path where it goes.

Nobody is asked for it here, and some send it.
"""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec

from enclave_server.chat.dialects.gemini.shapes import FunctionCall, Part, PartialArg
from enclave_server.chat.errors import Failure, UpstreamError

MAX_STEPS = 64
MAX_OCTETS = 4 * 1024 * 1024

# What a value takes besides its characters, generously.
VALUE_OCTETS = 128

_STEP = re.compile(r"\.([^.\[\]]+)|\[([0-9]{1,6})\]|\['([^'\\]*)'\]")

Step = str | int


class Opened(msgspec.Struct):
    """How a call began that comes in pieces."""

    name: str | None
    id: str | None
    signature: str | None


class Folder(msgspec.Struct):
    """Takes parts in their order, and gives back those that are whole.

    Texts among `arguments` are octets as long as more of them may come.
    """

    opened: Opened | None = None
    arguments: dict[str, Any] = {}
    kept: int = 0

    def take(self, part: Part) -> Iterator[Part]:
        """Yield `part`, or what it completes; raises UpstreamError for a piece of nothing."""
        call = part.function_call
        if call is None:
            yield part
            return
        if self.opened is None and not call.will_continue and not call.partial_args:
            yield part
            return
        if call.name:
            if self.opened is not None:
                raise UpstreamError(Failure.BROKEN)
            self.opened = Opened(call.name, call.id, part.thought_signature)
            self.arguments = {}
        for value in call.partial_args or ():
            self._put(value)
        if not call.will_continue:
            yield from self.end()

    def end(self) -> Iterator[Part]:
        """Yield the call that is open, if there is one: nothing more comes."""
        opened, self.opened = self.opened, None
        if opened is not None:
            arguments = {name: _raw(value) for name, value in self.arguments.items()}
            call = FunctionCall(opened.name, arguments, opened.id)
            yield Part(thought_signature=opened.signature, function_call=call)

    def _put(self, piece: PartialArg) -> None:
        if self.opened is None:
            raise UpstreamError(Failure.BROKEN)
        steps = _steps(piece.json_path or "")
        self.kept += VALUE_OCTETS * len(steps) + len(piece.string_value or "")
        if self.kept > MAX_OCTETS:
            raise UpstreamError(Failure.BROKEN)
        place: Any = self.arguments
        for step, following in pairwise(steps):
            place = _get(place, step, [] if isinstance(following, int) else {})
        value, before = _value(piece), _get(place, steps[-1], None)
        if not isinstance(value, bytearray) or not isinstance(before, bytes | bytearray):
            place[steps[-1]] = value
        elif isinstance(before, bytearray):
            before += value  # in place: what has come is not copied for each piece more
        else:
            place[steps[-1]] = bytearray(before) + value  # it comes out of a state


def _steps(path: str) -> list[Step]:
    """Return the steps of a JSON path; raises UpstreamError for one that leads nowhere."""
    steps: list[Step] = []
    end = 1
    while path[:1] == "$" and len(steps) < MAX_STEPS and (found := _STEP.match(path, end)):
        name, index, quoted = found.groups()
        steps.append(int(index) if index is not None else name or quoted or "")
        end = found.end()
    if end != len(path) or not steps or not isinstance(steps[0], str):
        raise UpstreamError(Failure.BROKEN)
    return steps


def _get(place: Any, step: Step, new: object) -> Any:
    """Return what is at `step` of `place`, which becomes `new` if there is nothing yet."""
    if isinstance(step, str) and isinstance(place, dict):
        return place.setdefault(step, new)
    if isinstance(step, int) and isinstance(place, list) and step <= len(place):
        if step == len(place):
            place.append(new)
        return place[step]
    raise UpstreamError(Failure.BROKEN)


def _value(piece: PartialArg) -> object:
    if piece.string_value is not None:
        return bytearray(piece.string_value.encode())
    if piece.number_value is not None:
        return piece.number_value
    return piece.bool_value  # or null


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(_settled(value)))


def _settled(value: object) -> object:
    """Return `value` with texts for octets; it is at most MAX_STEPS deep."""
    match value:
        case bytes() | bytearray():
            return value.decode()
        case list():
            return [_settled(item) for item in value]
        case dict():
            return {name: _settled(item) for name, item in value.items()}
    return value

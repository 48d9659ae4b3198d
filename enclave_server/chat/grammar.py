"""The size of the grammar that an engine makes of a JSON Schema, known before it is made.

llama.cpp turns a schema into rules, some of them a rule for each pair of properties, and follows
all alternatives that fit what has been said. With references that lead back, or patterns, both have
no bound; so a schema may hold what is listed here, and nothing else. What an engine would overlook
is refused by the same list.
"""

import re
from collections.abc import Mapping
from typing import Any

from enclave_server.chat.errors import ChatError, invalid
from enclave_server.chat.strict_json import printable

Json = Any

PARAM = "response_format"

# They say nothing that a grammar could hold a model to.
REMARKS = frozenset({"$schema", "$id", "title", "description", "default", "examples"})
DEFINITIONS = ("$defs", "definitions")
KEYWORDS = frozenset(
    {
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "oneOf",
        "prefixItems",
        "properties",
        "required",
        "type",
    }
)
COUNTS = ("maxItems", "maxLength", "minItems", "minLength")
RANGES = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum")

# Of an integer, whose digits become alternatives of their own. llama.cpp loses count at 17 digits,
# and takes all memory.
MAX_RANGE = 10**15
RANGE_RULES = 4

# Engines split a reference at slashes: with one in a name it could mean another schema to them.
_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")


def count_rules(schema: Mapping[str, Json], most: int) -> int:
    """Return how many rules `schema` makes, or a number above `most` as soon as it is certain.

    Raises ChatError for what has no bound, or no meaning to the engine.
    """
    counting = _Counting(schema, most)
    counting.add(schema)
    return counting.rules


class _Counting:
    """Adds up rules; references are followed each time, and count each time."""

    __slots__ = ("_most", "_targets", "_within", "rules")

    def __init__(self, schema: Mapping[str, Json], most: int) -> None:
        self._most = most
        self._targets = {
            f"#/{keyword}/{name}": target
            for keyword in DEFINITIONS
            for name, target in _object(schema.get(keyword, {}), keyword).items()
            if _NAME.fullmatch(name)
        }
        self._within: list[str] = []
        self.rules = 0

    def add(self, schema: Json) -> None:
        """Count `schema` and what it consists of."""
        self.rules += 1
        if self.rules > self._most or isinstance(schema, bool):
            return
        for keyword, value in _object(schema, "schema").items():
            self._add_keyword(keyword, value)
        _check_order(schema)

    def _add_keyword(self, keyword: str, value: Json) -> None:
        if keyword in ("anyOf", "oneOf", "prefixItems"):
            self._add_all(_array(value, keyword))
        elif keyword == "properties":
            self._add_all(_object(value, keyword).values())
        elif keyword in ("items", "additionalProperties"):
            self.add(value)
        elif keyword == "$ref":
            self._follow(value)
        elif keyword in COUNTS:
            self.rules += _count(value, keyword)
        elif keyword in RANGES:
            self.rules += _range(value, keyword)
        elif keyword == "enum":
            self.rules += len(_array(value, keyword))
        elif keyword == "type":
            self.rules += len(value) if isinstance(value, list) else 0
        elif keyword not in KEYWORDS and keyword not in REMARKS and keyword not in DEFINITIONS:
            raise _unsupported(keyword)

    def _add_all(self, schemas: Any) -> None:
        for schema in schemas:
            self.add(schema)

    def _follow(self, reference: Json) -> None:
        if not isinstance(reference, str) or reference not in self._targets:
            raise _wrong("$ref")
        if reference in self._within:
            raise invalid(
                f"'{PARAM}' has a schema that refers to itself, which this model cannot follow.",
                PARAM,
                "unsupported_parameter",
            )
        self._within.append(reference)
        self.add(self._targets[reference])
        self._within.pop()


def _object(value: Json, keyword: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise _wrong(keyword)
    return value


def _array(value: Json, keyword: str) -> list[Json]:
    if not isinstance(value, list):
        raise _wrong(keyword)
    return value


def _count(value: Json, keyword: str) -> int:
    if type(value) is not int or value < 0:
        raise _wrong(keyword)
    return value


def _range(value: Json, keyword: str) -> int:
    if type(value) is not int or abs(value) > MAX_RANGE:
        raise _wrong(keyword)
    return RANGE_RULES


def _check_order(schema: Mapping[str, Json]) -> None:
    """Refuse a least above the most: llama.cpp counts from one to the other, the long way round."""
    lowest, highest = schema.get("minimum"), schema.get("maximum")
    if (above := schema.get("exclusiveMinimum")) is not None:
        lowest = above + 1 if lowest is None else max(above + 1, lowest)
    if (below := schema.get("exclusiveMaximum")) is not None:
        highest = below - 1 if highest is None else min(below - 1, highest)
    ends = {
        "maxItems": (schema.get("minItems"), schema.get("maxItems")),
        "maxLength": (schema.get("minLength"), schema.get("maxLength")),
        "maximum": (lowest, highest),
    }
    for keyword, (least, most) in ends.items():
        if least is not None and most is not None and least > most:
            raise _wrong(keyword)


def _wrong(keyword: str) -> ChatError:
    return invalid(f"'{PARAM}' has a schema with a wrong '{keyword}'.", PARAM, "invalid_value")


def _unsupported(keyword: str) -> ChatError:
    name = printable(keyword)
    return invalid(
        f"'{PARAM}' has a schema with '{name}', which this model cannot follow.",
        PARAM,
        "unsupported_parameter",
    )

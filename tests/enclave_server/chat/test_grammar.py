"""What a schema makes of an engine's grammar is counted before it is made, or refused."""

from typing import Any

import pytest

from enclave_server.chat.errors import ChatError
from enclave_server.chat.grammar import RANGE_RULES, count_rules

STRING = {"type": "string"}

# As pydantic writes them.
ORDER = {
    "$defs": {
        "Item": {
            "title": "Item",
            "type": "object",
            "properties": {"name": STRING, "count": {"type": "integer", "minimum": 1}},
            "required": ["name", "count"],
        }
    },
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "first": {"$ref": "#/$defs/Item"},
        "rest": {"type": "array", "items": {"$ref": "#/$defs/Item"}, "maxItems": 5},
        "note": {"anyOf": [STRING, {"type": "null"}], "default": None},
        "kind": {"enum": ["a", "b"]},
    },
    "required": ["first"],
}


def test_rules_of_a_usual_schema() -> None:
    item = 3 + RANGE_RULES
    assert count_rules(ORDER, 100) == 1 + 1 + (1 + item) + (1 + 1 + item + 5) + 3 + (1 + 2)


@pytest.mark.parametrize(
    ("schema", "rules"),
    [
        ({}, 1),
        ({"type": ["string", "null"]}, 3),
        ({"items": True}, 2),
        ({"prefixItems": [{}, {}]}, 3),
        ({"maxLength": 7}, 8),
        ({"const": {"x": [1, 2]}}, 1),
        ({"minItems": 2, "maxItems": 2}, 5),
        ({"minimum": 1, "exclusiveMinimum": 0, "maximum": 1, "exclusiveMaximum": 2}, 17),
    ],
)
def test_every_part_counts(schema: dict[str, Any], rules: int) -> None:
    assert count_rules(schema, 100) == count_rules(schema, rules) == rules
    for most in range(rules):
        assert count_rules(schema, most) > most


@pytest.mark.parametrize(
    "ends",
    [
        {"exclusiveMinimum": 0, "maximum": 1},
        {"exclusiveMinimum": 0, "minimum": 2, "maximum": 2},
        {"exclusiveMinimum": 1, "minimum": 1, "exclusiveMaximum": 3},
        {"exclusiveMaximum": 2, "minimum": 1},
        {"exclusiveMaximum": 9, "maximum": 1, "minimum": 1},
        {"exclusiveMinimum": 0, "exclusiveMaximum": 2},
        {"minItems": 3, "maxItems": 3},
        {"minLength": 3, "maxLength": 3},
        {"minimum": -(10**15), "maximum": 10**15},
        {"minItems": 0},
    ],
    ids=str,
)
def test_a_least_may_be_the_most(ends: dict[str, Any]) -> None:
    assert count_rules(ends, 100) <= 100


def test_a_reference_counts_each_time_and_stops_in_time() -> None:
    doubling: dict[str, Any] = {"d0": {}}
    for number in range(1, 40):
        reference = {"$ref": f"#/$defs/d{number - 1}"}
        doubling[f"d{number}"] = {"anyOf": [reference, {"items": reference}]}
    assert count_rules({"$defs": doubling, "$ref": "#/$defs/d39"}, 100) > 100


LOOP = {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}


@pytest.mark.parametrize(
    "schema",
    [
        LOOP,
        {"$ref": "#"},
        {"$ref": "https://example.com/schema"},
        {"$ref": 7},
        {"$defs": {"a/b": {}, "a": {"b": {"enum": [1] * 99}}}, "$ref": "#/$defs/a/b"},
        {"pattern": "(a{99}){99}"},
        {"allOf": [{}]},
        {"not": {}},
        {"anyOf": {}},
        {"properties": []},
        {"maxItems": -1},
        {"minItems": 3, "maxItems": 2},
        {"minLength": 36, "maxLength": 9},
        {"minimum": 2, "maximum": 1},
        {"exclusiveMinimum": 1, "maximum": 1},
        {"exclusiveMaximum": 1, "minimum": 1},
        {"exclusiveMinimum": 0, "minimum": 5, "maximum": 4},
        {"exclusiveMaximum": 9, "maximum": 4, "minimum": 5},
        {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"exclusiveMinimum": 3, "minimum": 1, "maximum": 3},
        {"exclusiveMaximum": 1, "maximum": 3, "minimum": 1},
        {"minimum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"maxItems": 1.5},
        {"maxItems": True},
        {"minimum": 10**15 + 1},
        {"exclusiveMaximum": -(10**15) - 1},
        {"minimum": 0.5},
        {"items": [{}]},
        {"$defs": []},
    ],
    ids=str,
)
def test_what_has_no_bound_or_no_meaning_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(ChatError) as caught:
        count_rules(schema, 1000)
    assert (caught.value.status, caught.value.param) == (400, "response_format")

"""Costs of requests and the size of grammars: counted alike by whoever counts, and in bounds."""

import json
from typing import Any

from enclave_server.chat import cost
from enclave_server.chat.conversation import Conversation, Message, ObjectOf
from enclave_server.chat.errors import ChatError
from enclave_server.chat.grammar import count_rules
from protocol import strict_json
from tests.enclave_server.chat.test_grammar import LOOP, ORDER
from tests.fuzz.faults import fails, replaced, returns, slips
from tests.fuzz.reading import Attempt, Refused
from tests.fuzz.reading import attempt as attempt_message

MOST = 128
NODES = 50
attempt = Attempt(ChatError)

FAULTS = (
    slips("enclave_server.chat.grammar._check_order", ChatError),
    fails("enclave_server.chat.grammar._wrong"),
    replaced("enclave_server.chat.grammar._Counting._add_all", lambda counting, schemas: None),
    returns("enclave_server.chat.cost.octets", lambda size: size + 1),
)


def seeds() -> list[bytes]:
    """Return schemas: usual ones, wrong ones, ones that refer to each other."""
    many = {"anyOf": [{"$ref": "#/$defs/a"}] * 9, "$defs": {"a": {"enum": list(range(20))}}}
    odd: list[Any] = [
        {"minimum": 3, "maximum": 2},
        {"minItems": True},
        {"$ref": 1},
        {"type": ["string", "null"], "maxLength": 9, "pattern": "a"},
        {"prefixItems": [True, False, {}], "items": False},
        {"exclusiveMinimum": -(10**15), "maximum": 10**16},
        {"properties": []},
        {"a": {"b": {"c": [1, "ü", None]}}},
    ]
    return [json.dumps(each).encode() for each in (ORDER, LOOP, many, *odd)]


def run(data: bytes) -> None:
    """Count the rules and the values of a schema."""
    schema = attempt_message(strict_json.decode_object, data)
    if isinstance(schema, Refused):
        return
    rules = attempt(count_rules, schema, MOST)
    if not isinstance(rules, Refused):
        assert rules >= 1
        more = attempt(count_rules, schema, 8 * MOST)
        # Beyond the most, what follows is not even looked at.
        assert rules > MOST or more == rules
        assert rules > MOST or rules >= _schemas(schema)
    asked = Conversation(
        model="m", messages=[Message("user", "ab")], response_format=ObjectOf("s", "ü", schema)
    )
    amounts = {each.bound: each.count for each in cost.amounts(asked, NODES)}
    nodes, size = _size(schema)
    assert amounts["schema_nodes"] == min(nodes, NODES + 1)
    assert nodes > NODES or amounts["text_bytes"] == 2 + 2 + size


def _schemas(schema: Any) -> int:
    """Return how many schemas stand where a schema can stand; those referred to count once."""
    if not isinstance(schema, dict):
        return 1
    inner: list[Any] = []
    for keyword, value in schema.items():
        if keyword in ("anyOf", "oneOf", "prefixItems"):
            inner += value
        elif keyword == "properties":
            inner += value.values()
        elif keyword in ("items", "additionalProperties"):
            inner.append(value)
    return 1 + sum(map(_schemas, inner))


def _size(value: Any) -> tuple[int, int]:
    """Return how many values there are, and the octets of their texts and names."""
    if isinstance(value, str):
        return 1, len(value.encode())
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    sizes = [_size(each) for each in inner]
    names = sum(len(name.encode()) for name in value) if isinstance(value, dict) else 0
    return 1 + sum(nodes for nodes, _ in sizes), names + sum(octets for _, octets in sizes)

"""Items of answers that passed here, for programs that refer to them and send them no more.

Some programs take a Responses API for one that keeps what it answers, and name its items in the
next request. The enclave keeps nothing: so the reference is resolved on this machine, in memory,
before the request is sealed. What nobody here knows is left to the enclave, which refuses it.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from protocol import strict_json
from protocol.errors import MalformedMessage

REFERENCE = "item_reference"

# Characters of items that are kept, as JSON; the oldest go first. Some hundred long conversations.
MAX_KEPT_CHARACTERS = 16 * 1024 * 1024

Json = dict[str, Any]


class References:
    """Keeps items by their identifiers, which are random and told to who was answered alone."""

    __slots__ = ("_items", "_kept", "_most")

    def __init__(self, most: int = MAX_KEPT_CHARACTERS) -> None:
        self._items: OrderedDict[str, str] = OrderedDict()
        self._kept, self._most = 0, most

    def keep(self, answer: Mapping[str, Any]) -> None:
        """Keep the items of an answer that has verified."""
        for item in answer.get("output") or ():
            identifier = item.get("id")
            if isinstance(identifier, str):
                self._forget(identifier)
                self._items[identifier] = json.dumps(item)
                self._kept += len(self._items[identifier])
        while self._kept > self._most:
            self._forget(next(iter(self._items)))

    def resolve(self, body: bytes) -> bytes:
        """Return a request with the items that it refers to; what is no request stays as it is."""
        if REFERENCE.encode() not in body:
            return body
        try:
            request = strict_json.decode_object(body)
        except MalformedMessage:
            return body
        items = request.get("input")
        if not isinstance(items, list):
            return body
        resolved = [self._resolved(item) for item in items]
        return body if resolved == items else json.dumps(request | {"input": resolved}).encode()

    def _resolved(self, item: object) -> object:
        if not isinstance(item, dict) or item.get("type") != REFERENCE:
            return item
        identifier = item.get("id")
        known = self._items.get(identifier) if isinstance(identifier, str) else None
        return item if known is None else json.loads(known)

    def _forget(self, identifier: str) -> None:
        self._kept -= len(self._items.pop(identifier, ""))

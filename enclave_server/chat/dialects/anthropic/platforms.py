"""Who serves Anthropic's API: each has another path, another key, and its version elsewhere."""

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from enclave_server.chat.dialects.amazon.frames import MEDIA_TYPE
from enclave_server.chat.dialects.amazon.signing import authorize, bearer
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from enclave_server.chat.models import Model
from protocol.registry import EVENT_STREAM, JSON

Json = dict[str, Any]

VERSION = b"2023-06-01"


class Platform(Protocol):
    """Puts the members of a request into the request that its server wants."""

    def __call__(
        self, members: Json, model: Model, account: Account, *, stream: bool
    ) -> UpstreamRequest:
        """Return the request."""
        ...


def anthropic(members: Json, model: Model, account: Account, *, stream: bool) -> UpstreamRequest:
    """Return the request as Anthropic wants it."""
    body = {"model": model.upstream_name, **members, **({"stream": True} if stream else {})}
    fields = [(b"anthropic-version", VERSION)]
    if account.key is not None:
        fields.append((b"x-api-key", account.key.encode("ascii")))
    accept = EVENT_STREAM if stream else JSON
    return UpstreamRequest("/messages", tuple(fields), msgspec.json.encode(body), accept)


def vertex(members: Json, model: Model, account: Account, *, stream: bool) -> UpstreamRequest:
    """Return the request as Vertex AI wants it; the prefix of the path names project and place."""
    verb, more = ("streamRawPredict", {"stream": True}) if stream else ("rawPredict", {})
    body = {"anthropic_version": "vertex-2023-10-16", **members, **more}
    path = f"/models/{quote(model.upstream_name, safe='@')}:{verb}"
    accept = EVENT_STREAM if stream else JSON
    return UpstreamRequest(path, bearer(account), msgspec.json.encode(body), accept)


def bedrock(clock: Callable[[], float]) -> Platform:
    """Return what makes the request as Bedrock wants it, signed at the time of `clock`."""

    def write(members: Json, model: Model, account: Account, *, stream: bool) -> UpstreamRequest:
        verb = "invoke-with-response-stream" if stream else "invoke"
        body = msgspec.json.encode({"anthropic_version": "bedrock-2023-05-31", **members})
        path = f"/model/{quote(model.upstream_name, safe='')}/{verb}"
        fields = authorize(model.upstream, account, path, body, clock())
        return UpstreamRequest(path, fields, body, MEDIA_TYPE if stream else JSON)

    return write

"""Who serves the API: paths, keys and versions."""

import json
from typing import Any

import pytest

from enclave_server.chat.dialects.amazon.frames import MEDIA_TYPE
from enclave_server.chat.dialects.anthropic.platforms import Platform, anthropic, bedrock, vertex
from enclave_server.chat.dialects.dialect import Account, UpstreamRequest
from protocol.registry import EVENT_STREAM, JSON
from tests.support.conversations import model
from tests.support.upstream_connection import upstream_at

AT_BEDROCK = bedrock(lambda: 0.0)
MEMBERS = {"max_tokens": 1}


def asked(platform: Platform, *, stream: bool = False, key: str | None = "k") -> UpstreamRequest:
    return platform(MEMBERS, model("a.b:1/c"), Account(key), stream=stream)


@pytest.mark.parametrize(
    ("platform", "stream", "path", "accept", "body"),
    [
        (anthropic, False, "/messages", JSON, {"model": "a.b:1/c"}),
        (anthropic, True, "/messages", EVENT_STREAM, {"model": "a.b:1/c", "stream": True}),
        (
            vertex,
            False,
            "/models/a.b%3A1%2Fc:rawPredict",
            JSON,
            {"anthropic_version": "vertex-2023-10-16"},
        ),
        (
            vertex,
            True,
            "/models/a.b%3A1%2Fc:streamRawPredict",
            EVENT_STREAM,
            {"anthropic_version": "vertex-2023-10-16", "stream": True},
        ),
        (
            AT_BEDROCK,
            False,
            "/model/a.b%3A1%2Fc/invoke",
            JSON,
            {"anthropic_version": "bedrock-2023-05-31"},
        ),
        (
            AT_BEDROCK,
            True,
            "/model/a.b%3A1%2Fc/invoke-with-response-stream",
            MEDIA_TYPE,
            {"anthropic_version": "bedrock-2023-05-31"},
        ),
    ],
)
def test_path_and_version(
    platform: Platform, stream: bool, path: str, accept: bytes, body: dict[str, Any]
) -> None:
    request = asked(platform, stream=stream)
    assert (request.path, request.accept) == (path, accept)
    assert json.loads(request.body) == MEMBERS | body


@pytest.mark.parametrize(
    ("platform", "unkeyed", "key"),
    [
        (anthropic, {b"anthropic-version": b"2023-06-01"}, {b"x-api-key": b"k"}),
        (vertex, {}, {b"Authorization": b"Bearer k"}),
        (AT_BEDROCK, {}, {b"Authorization": b"Bearer k"}),
    ],
)
def test_key(platform: Platform, unkeyed: dict[bytes, bytes], key: dict[bytes, bytes]) -> None:
    assert dict(asked(platform, key=None).fields) == unkeyed
    assert dict(asked(platform).fields) == unkeyed | key


def test_amazon_is_asked_with_a_signature_of_the_moment() -> None:
    upstream = upstream_at("tcp://127.0.0.1:1", host_name="bedrock-runtime.eu-west-1.amazonaws.com")
    account = Account("secret", {"access_key_id": "AKID"})
    request = AT_BEDROCK(MEMBERS, model(upstream=upstream), account, stream=False)
    assert dict(request.fields)[b"x-amz-date"] == b"19700101T000000Z"
    assert b"secret" not in dict(request.fields)[b"Authorization"]


def test_version_of_a_model_at_vertex_is_said_as_it_is() -> None:
    request = vertex(MEMBERS, model("claude@20250929"), Account(), stream=False)
    assert request.path == "/models/claude@20250929:rawPredict"

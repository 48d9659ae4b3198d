"""The requests that the bench sends."""

import re

from protocol.encapsulation import GatewayKey, decapsulate_request
from scripts.benchmark.server import fields_of_a_cdn, sealed_post

HEAD = re.compile(
    rb"POST /v1/ohttp HTTP/1.1\r\nHost: gateway\r\nContent-Type: message/ohttp-req\r\n"
    rb"Content-Length: ([0-9]+)\r\n(CF-Ray: \S+\r\nTraceparent: \S+\r\n)?\r\n"
)


def test_each_request_opens_and_has_the_fields_of_a_cdn() -> None:
    key = GatewayKey.generate(1)
    seen = set()
    for fields in ("", fields_of_a_cdn(), fields_of_a_cdn()):
        request = sealed_post(key.config, b"/v1/models", fields)
        head = HEAD.match(request)
        assert head is not None
        body = request[head.end() :]
        assert len(body) == int(head[1])
        assert (head[2] or b"") == fields.encode()
        decapsulate_request([key], body)
        seen.add(head[0])
    assert len(seen) == 3

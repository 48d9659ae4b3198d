"""Asks an upstream, and takes its response only if it is what was asked for."""

from enclave_server.chat.dialects.faults import MAX_FAULT_BYTES, fault_in_answer, parse_retry_after
from enclave_server.chat.dialects.scrub import upstream_fields
from enclave_server.chat.dialects.whole_answer import MAX_ANSWER_BYTES
from enclave_server.chat.errors import Failure, UpstreamError
from enclave_server.chat.upstream.connections import UpstreamConnections, UpstreamResponse

JSON_TYPE = b"application/json"
EVENT_STREAM_TYPE = b"text/event-stream"


async def ask(
    connections: UpstreamConnections, path: str, body: bytes, accept: bytes
) -> UpstreamResponse:
    """Return the response to a POST, if it is a 200 of type `accept`; raises UpstreamError."""
    upstream = connections.upstream
    target = f"{upstream.path_prefix}{path}".encode("ascii")
    response = await connections.post(target, upstream_fields(upstream, accept), body)
    return await _accepted(response, accept)


async def read_whole(response: UpstreamResponse) -> bytes:
    """Return the whole body; raises UpstreamError, also when it has no end."""
    body = await response.read_up_to(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise UpstreamError(Failure.BROKEN)
    return body


async def _accepted(response: UpstreamResponse, accept: bytes) -> UpstreamResponse:
    """Return `response` if it is what was asked for, else close it and raise UpstreamError."""
    fields = dict(response.fields)
    media_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if response.status == 200 and media_type == accept:
        return response
    try:
        if response.status == 200:
            raise UpstreamError(Failure.BROKEN)
        body = await response.read_up_to(MAX_FAULT_BYTES)
        retry_after = parse_retry_after(fields.get(b"retry-after", b""))
        raise fault_in_answer(response.status, body, retry_after)
    finally:
        await response.close()

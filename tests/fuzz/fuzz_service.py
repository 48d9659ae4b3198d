"""The chat service: any inner request is answered, with JSON, and never by a fault of ours.

Its models lead nowhere, so that whatever is right about a request ends there.
"""

import asyncio
import json

from enclave_server.chat.service import ChatService
from protocol import binary_http
from protocol.binary_http import Request, Response, encode_request
from protocol.gateway import Delivery, settled
from tests.fuzz.faults import fails, returns
from tests.fuzz.fuzz_binary_http_request import seeds as requests
from tests.fuzz.reading import Refused, attempt
from tests.support.chat_service import KEYS, TABLE, chat

SERVICE = ChatService(TABLE, lambda: KEYS)
STATUSES = {200, 400, 404, 405, 415, 503}

FAULTS = (
    fails("enclave_server.chat.service._require_json"),
    fails("enclave_server.chat.service.find_model"),
    returns("enclave_server.chat.service.prepare", lambda prepared: None),
)


def seeds() -> list[bytes]:
    """Return requests for every path, and such as nobody makes."""
    fields = ((b"content-type", b"application/json"),)
    asked = json.dumps(chat()).encode()
    paths = (b"/v1/chat/completions", b"/v1/models", b"/v1/models/m", b"/v1/models/%ff%00x", b"/v1")
    signed = (*fields, (b"tee-signature", b"ed25519"))
    odd = (*fields, (b"tee-signature", b"\xff"), (b"content-encoding", b"gzip"))
    return [
        *requests(),
        *(
            encode_request(Request(method, b"https", b"a", path, headers, asked))
            for method in (b"GET", b"POST")
            for path in paths
            for headers in (fields, signed, odd, ())
        ),
    ]


def run(data: bytes) -> None:
    """Ask for the whole answer and for a stream."""
    request = attempt(binary_http.decode_request, data)
    if isinstance(request, Refused):
        return
    for delivery in Delivery:
        answer = asyncio.run(settled(SERVICE.dispatch(request, delivery)))
        assert isinstance(answer, Response)
        assert answer.status in STATUSES
        said = json.loads(answer.content)
        assert answer.status == 200 or said["error"]["message"]
        binary_http.encode_response(answer)

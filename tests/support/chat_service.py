"""Asks a chat service whose models lead nowhere: what is refused, and how."""

import asyncio
import json
from typing import Any

from enclave_server.addresses import parse_address
from enclave_server.chat.bounds import Bounds
from enclave_server.chat.models import Model, ModelTable
from enclave_server.chat.service import ChatService
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.binary_http import Request, Response
from protocol.gateway import Delivery, settled
from protocol.signature import SigningKeys

KEYS = SigningKeys.generate()
NOWHERE = Upstream("nowhere", parse_address("unix:/nonexistent/socket"))
TABLE = ModelTable(
    (
        Model("m", NOWHERE, "there"),
        Model("plain", NOWHERE, "there", tools=False, images=False, bounds=Bounds(choices=2)),
        Model("e", NOWHERE, "there", embeddings=True, bounds=Bounds(choices=2, text_bytes=8)),
    )
)
HELLO = [{"role": "user", "content": "Hello"}]
JSON = ((b"content-type", b"application/json"),)


def ask_nowhere(
    body: object,
    *,
    method: bytes = b"POST",
    path: bytes = b"/v1/chat/completions",
    headers: tuple[tuple[bytes, bytes], ...] = JSON,
    delivery: Delivery = Delivery.WHOLE,
) -> tuple[Response, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(method, b"https", b"gateway", path, headers, content)
    service = ChatService(TABLE, lambda: KEYS)
    answer = asyncio.run(settled(service.dispatch(request, delivery)))
    assert isinstance(answer, Response)
    value = json.loads(answer.content)
    error = value.get("error", {})
    if answer.status != 200:
        assert error.keys() == {"message", "type", "param", "code"}
        assert (b"content-type", b"application/json") in answer.headers
    return answer, error


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": HELLO, **fields}

"""The gateway: whatever stands inside a seal is answered inside one, whole and in steps alike."""

from collections.abc import Coroutine, Generator
from typing import Any, TypeVar

from protocol import chunked, encapsulation
from protocol.binary_http import Request, Response, decode_response
from protocol.encapsulation import GatewayKey
from protocol.errors import MalformedMessage
from protocol.gateway import Delivery, Gateway
from tests.fuzz.faults import replaced, returns, slips
from tests.fuzz.fuzz_binary_http_request import seeds as requests

T = TypeVar("T")
KEY = GatewayKey(1, bytes(range(32)))
EPHEMERAL = bytes(range(1, 33))

FAULTS = (
    slips("protocol.gateway.decode_request", MalformedMessage),
    returns("protocol.gateway.pad", lambda data: data + b"\1"),
    replaced("protocol.gateway.STEP_BYTES", 0),
)


def seeds() -> list[bytes]:
    """Return the published requests, one as bare JSON, and garbage."""
    return [*requests(), b'{"model": "m"}', b"", b"{", b"\5"]


def run(data: bytes) -> None:
    """Ask `data`, whole and in chunks."""
    failures: list[Exception] = []
    gateway = Gateway(
        lambda: [KEY], _echo, admit_bare=lambda enc, key_id, request: None, report=failures.append
    )
    sealed, client = encapsulation.encapsulate_request(KEY.config, data, ephemeral=EPHEMERAL)
    whole, steps = gateway.begin(sealed), _last(gateway.begin_in_steps(sealed))
    assert isinstance(whole, bytes)
    assert isinstance(steps, bytes)
    assert len(whole) == len(steps)
    opened = client.open_response(whole)
    answer = opened if data.startswith(b"{") else _said(decode_response(opened))
    in_chunks = _in_chunks(gateway, data)
    assert answer == in_chunks or data.startswith(b"{")
    assert not failures


def _in_chunks(gateway: Gateway, data: bytes) -> tuple[int, bytes]:
    sealer, _ = chunked.encapsulate_request(KEY.config, ephemeral=EPHEMERAL)
    sealed = sealer.seal(data[:100]) + sealer.finish(data[100:])
    answers = [
        _at_once(exchange.respond())
        for exchange in (gateway.open_chunked(sealed), _last(gateway.open_chunked_in_steps(sealed)))
    ]
    assert answers[0] == answers[1]
    assert isinstance(answers[0], Response)
    return _said(answers[0])


def _said(response: Response) -> tuple[int, bytes]:
    assert response.status in (200, 400, 417)
    return response.status, response.content


def _echo(request: Request, delivery: Delivery) -> Response:
    assert all(name == name.lower() for name, _ in request.headers)
    return Response(200, request.headers, request.path + request.content, request.trailers)


def _at_once(answering: Coroutine[Any, Any, T]) -> T:
    """Return what is awaited, for which nothing has to be waited for."""
    try:
        answering.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    raise AssertionError("it waits")


def _last(steps: Generator[bool, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value

"""The recording gateway."""

import asyncio

import pytest

from scripts.relay_kit.recording import Exchange, Gateway


async def talk(gateway: Gateway, sent: bytes) -> bytes:
    """Send bytes to a gateway on one connection; return all that comes back."""
    server, address = await gateway.listen("127.0.0.1:0")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(sent)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    server.close()
    return answer


def test_requests_are_kept_and_given_back() -> None:
    gateway = Gateway()
    request = b"POST /v1/ohttp HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\n"
    answer = asyncio.run(talk(gateway, request + b"one" + request + b"two"))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"two")
    assert [exchange.target for exchange in gateway.arrivals] == ["/v1/ohttp"] * 2
    assert gateway.arrivals[0].request.get("host") == "g"
    assert gateway.failures == []


def test_an_answer_in_chunks() -> None:
    gateway = Gateway()

    async def script(exchange: Exchange) -> None:
        await exchange.start(200, ("X", "y"))
        await exchange.piece(b"half")
        await exchange.end()
        raise EOFError

    gateway.script = script
    answer = asyncio.run(talk(gateway, b"GET / HTTP/1.1\r\n\r\n"))
    head = b"HTTP/1.1 200 Status\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert answer == head + b"4\r\nhalf\r\n0\r\n\r\n"


def test_what_is_not_http_is_a_failure_of_the_relay() -> None:
    gateway = Gateway()
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    asyncio.run(talk(gateway, chunked + b"no size\r\n"))
    assert gateway.failures == ["something that is not HTTP/1.1 arrived"]


@pytest.mark.parametrize("address", ["nonsense", ":80", "127.0.0.1:"])
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValueError, match="neither HOST:PORT nor unix:PATH"):
        asyncio.run(Gateway().listen(address))

"""A request on a connection of its own, in HTTP/1.1, and how its target is named."""

import asyncio
from pathlib import Path

import pytest

from scripts.relay_kit.bench import Answer, receive
from scripts.relay_kit.calls import Request, Target, UsageError, call_http1, parse_target

ANSWER = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    ("text", "address", "name", "path"),
    [
        ("http://r.example", ("r.example", 80), "r.example", "/"),
        ("https://r.example:8443/relay", ("r.example", 8443), "r.example:8443", "/relay"),
        ("https://r.example/", ("r.example", 443), "r.example", "/"),
        ("unix:/run/relay", "/run/relay", "relay", "/"),
    ],
)
def test_targets(text: str, address: object, name: str, path: str) -> None:
    target = parse_target(text, None)
    assert (target.address, target.name, target.path) == (address, name, path)
    assert (target.tls is not None) == text.startswith("https:")


@pytest.mark.parametrize("text", ["r.example", "ftp://r.example/", "http://", ""])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(UsageError, match="is not the URL of a relay"):
        parse_target(text, None)


def exchange(folder: Path, request: Request) -> tuple[bytes, Answer]:
    """Send a request of two pieces and trailers; return what arrived and what came back."""

    async def run() -> tuple[bytes, Answer]:
        arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(ANSWER)
            arrived.set_result(await reader.read())
            writer.transport.abort()

        server = await asyncio.start_unix_server(serve, folder / "relay")
        call = await call_http1(Target(str(folder / "relay"), "r", "/", None), request)
        await call.send(b"sea", b"a=b")
        await call.send(b"led")
        await call.end([("X", "y")])
        answer = await receive(call)
        await call.cancel()
        server.close()
        return await arrived, answer

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_a_body_of_unknown_length_goes_in_chunks(tmp_path: Path) -> None:
    fields = [("Transfer-Encoding", "chunked")]
    arrived, answer = exchange(tmp_path, Request("POST", "/", fields))
    head = b"POST / HTTP/1.1\r\nHost: r\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert arrived == head + b"3;a=b\r\nsea\r\n3\r\nled\r\n0\r\nX: y\r\n\r\n"
    assert (answer.status, answer.body, answer.whole) == (200, b"ok", True)


def test_a_body_of_known_length_goes_as_it_is(tmp_path: Path) -> None:
    arrived, _ = exchange(tmp_path, Request("POST", "/x", [("Content-Length", "6")]))
    assert arrived == b"POST /x HTTP/1.1\r\nHost: r\r\nContent-Length: 6\r\n\r\nsealed"

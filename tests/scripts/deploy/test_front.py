"""The front before many relays' connections: what it keeps, and HTTP/2."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import trustme

from scripts.relay_kit.bench import WHOLE, Caller, receive
from scripts.relay_kit.calls import Request, Target, call_http1
from scripts.relay_kit.http2 import ALPN, call_http2
from scripts.relay_kit.recording import Exchange, Gateway, echo
from tests.scripts.deploy.test_units import nginx
from tests.support.stack import needs_nginx

CLIENTS = 200  # more than the 64 connections that nginx keeps in common configurations
BODY = b"sealed request"
RELEASES = ".well-known/oblivious-inference/releases.json"
LIST = b'{"checkpoint":"","entries":[]}'
FIELDS = [("Content-Type", WHOLE), ("Content-Length", str(len(BODY)))]


def before_a_gateway(
    folder: Path, test: Callable[[Gateway, Target, ssl.SSLContext], Awaitable[None]]
) -> None:
    """Run `test` with the front before a gateway that plays host_proxy and enclave."""
    authority = trustme.CA()
    certificate = authority.issue_cert("gateway.example.com", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(str(folder / "front.pem"))
    tls = ssl.create_default_context()
    authority.configure_trust(tls)

    async def body() -> None:
        gateway = Gateway()
        server, address = await gateway.listen("127.0.0.1:0")
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            nginx(folder, listener, int(address.rpartition(":")[2])),
        ):
            place = ("127.0.0.1", listener.getsockname()[1])
            target = Target(place, "gateway.example.com", "/v1/ohttp", tls)
            async with asyncio.timeout(120):
                await test(gateway, target, tls)
        server.close()

    asyncio.run(body())


async def ask(target: Target, caller: Caller) -> tuple[int, bytes]:
    """Send a sealed request; return status and body."""
    call = await caller(target, Request("POST", target.path, FIELDS))
    await call.send(BODY)
    await call.end()
    answer = await receive(call)
    call.close()
    return answer.status, answer.body


@needs_nginx
def test_connections_to_host_proxy_are_kept_for_all_who_come_again(tmp_path: Path) -> None:
    async def test(gateway: Gateway, target: Target, tls: ssl.SSLContext) -> None:
        for _ in range(2):
            waiting = asyncio.Barrier(CLIENTS)  # so that all are under way at once

            async def together(exchange: Exchange, waiting: asyncio.Barrier = waiting) -> None:
                await waiting.wait()
                await echo(exchange)

            gateway.script = together
            answers = await asyncio.gather(*(ask(target, call_http1) for _ in range(CLIENTS)))
            assert set(answers) == {(200, BODY)}
        connections = {id(exchange.writer) for exchange in gateway.arrivals}
        assert len(gateway.arrivals) == 2 * CLIENTS
        assert len(connections) < 1.2 * CLIENTS  # a few are not put back yet when they are wanted

    before_a_gateway(tmp_path, test)


@needs_nginx
def test_relays_may_speak_http2_to_the_front(tmp_path: Path) -> None:
    async def test(gateway: Gateway, target: Target, tls: ssl.SSLContext) -> None:
        tls.set_alpn_protocols([ALPN])
        assert await ask(target, call_http2) == (200, BODY)
        (arrival,) = gateway.arrivals
        assert arrival.request.start == ["POST", "/v1/ohttp", "HTTP/1.1"]

    before_a_gateway(tmp_path, test)


@needs_nginx
def test_the_list_of_releases_is_a_file_that_all_get_alike(tmp_path: Path) -> None:
    served = tmp_path / "files" / RELEASES
    served.parent.mkdir(parents=True)
    served.write_bytes(LIST)

    async def test(gateway: Gateway, target: Target, tls: ssl.SSLContext) -> None:
        heads = []
        for fields in (
            [],
            [("If-None-Match", '"mark"'), ("Range", "bytes=0-1"), ("Cookie", "a=1")],
        ):
            call = await call_http1(target, Request("GET", f"/{RELEASES}", fields))
            answer = await receive(call)
            call.close()
            assert (answer.status, answer.body) == (200, LIST)
            assert answer.head.get("content-type") == "application/json"
            assert answer.head.get("cache-control") == "public, max-age=600"
            heads.append([(n, v) for n, v in answer.head.fields if n.lower() != "date"])
            assert not answer.head.get("etag")
        assert heads[0] == heads[1]
        for method, path, status in (
            ("POST", RELEASES, 403),
            ("GET", RELEASES.replace("releases", "keys-seen"), 404),
        ):
            call = await call_http1(target, Request(method, f"/{path}", [("Content-Length", "0")]))
            assert (await receive(call)).status == status
            call.close()
        assert gateway.arrivals == []  # the enclave is never asked

    before_a_gateway(tmp_path, test)

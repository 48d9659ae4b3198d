"""What is counted of an answer: the octets of its body, however they are framed."""

import pytest

from enclave_server.http.messages import OuterRequest, OuterResponse
from tests.support.outer_http import FAMILIES, Fountain, get
from tests.support.sockets import run, serving


async def whole(request: OuterRequest) -> OuterResponse:
    return OuterResponse(200, (), b"x" * 1000, "whole")


@FAMILIES
@pytest.mark.parametrize(
    ("handler", "route", "octets"),
    [
        (Fountain(7, 1000), "fountain", 7000),
        (Fountain(0, 1), "fountain", 0),
        (whole, "whole", 1000),
    ],
)
def test_octets_of_the_body_are_in_the_report(
    family: str, handler: Fountain, route: str, octets: int
) -> None:
    async def main() -> None:
        async with serving(handler, family=family) as server:
            peer = await server.connect()
            for _ in range(2):
                await peer.send(get("/a"))
                assert len((await peer.answer()).body) == octets
            peer.close()
            await server.server.drain(60)
            (line,) = server.events()
            assert (line["route"], line["status"], line["count"]) == (route, 200, 2)
            assert (line["sent_bytes"], line["received_bytes"]) == (2 * octets, 0)

    run(main)

"""Sealed requests in a cluster: refused before anything is opened, and when their turn comes."""

from collections.abc import Callable, Iterator

import pytest

from enclave_server.gateway import routes
from enclave_server.gateway.routes import make_router
from enclave_server.gateway.standing import Ownership, Standing
from protocol import chunked
from protocol.encapsulation import encapsulate_request
from protocol.gateway import Gateway
from protocol.registry import CHUNKED_OHTTP_REQUEST, KEY_PROBLEM, OHTTP_REQUEST
from protocol.slots import SLOTS
from tests.enclave_server.gateway.test_routes import (
    INNER,
    LARGE,
    Client,
    State,
    dispatch,
    two_pieces,
)
from tests.support.sockets import Received, run, serving_routes

STATEMENT = b'{"member":"5f"}'
KINDS = pytest.mark.parametrize("media_type", [OHTTP_REQUEST, CHUNKED_OHTTP_REQUEST])


def of(ownership: Ownership) -> Standing:
    slots = bytes([ownership]) * SLOTS
    return Standing({7: slots, 6: slots}, STATEMENT)


def sealed(state: State, plaintext: bytes, media_type: bytes) -> bytes:
    config = state.keys[0].config
    if media_type == OHTTP_REQUEST:
        return encapsulate_request(config, plaintext)[0]
    return chunked.encapsulate_request(config)[0].finish(plaintext)


def asked(standing: Callable[[], Standing], plaintext: bytes, media_type: bytes) -> Received:
    """Return the answer of a member that stands so whenever it looks."""
    found: list[Received] = []

    async def main() -> None:
        state = State()
        gateway = Gateway(state.opening_keys, dispatch)
        router = make_router(state, gateway, two_pieces, standing=standing)
        async with serving_routes(router) as server:
            body = sealed(state, plaintext, media_type)
            found.append(await Client(server, state).post(body, media_type.decode()))
            await server.server.drain(1)

    run(main)
    return found[0]


@KINDS
@pytest.mark.parametrize("plaintext", [INNER, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("ownership", "status"),
    [(Ownership.OWN, 200), (Ownership.OTHERS, 421), (Ownership.NOBODYS, 422)],
)
def test_a_member_opens_what_is_its_own(
    ownership: Ownership, status: int, plaintext: bytes, media_type: bytes
) -> None:
    answer = asked(lambda: of(ownership), plaintext, media_type)
    assert answer.status == status
    assert (KEY_PROBLEM.encode() in answer.body) is (ownership is Ownership.NOBODYS)


@pytest.mark.parametrize("ownership", [Ownership.OTHERS, Ownership.NOBODYS])
def test_nothing_of_another_members_request_is_opened(
    ownership: Ownership, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("it was opened")

    for name in ("begin", "begin_in_steps", "open_chunked", "open_chunked_in_steps"):
        monkeypatch.setattr(Gateway, name, opened if "steps" not in name else lambda *_: iter(()))
    for plaintext in (INNER, LARGE):
        assert asked(lambda: of(ownership), plaintext, OHTTP_REQUEST).status in (421, 422)


@KINDS
@pytest.mark.parametrize(("then", "status"), [(Ownership.OTHERS, 421), (Ownership.NOBODYS, 422)])
def test_a_large_request_is_looked_at_again_when_its_turn_comes(
    then: Ownership, status: int, media_type: bytes
) -> None:
    """While it waited another key came to have the identifier, with another owner of the slot."""
    looks: Iterator[Ownership] = iter([Ownership.OWN, then])
    answer = asked(lambda: of(next(looks)), LARGE, media_type)
    assert answer.status == status
    assert next(looks, None) is None


def test_the_statement_is_told_to_the_front_alone_where_there_is_a_cluster() -> None:
    async def main() -> None:
        for standing, status in ((lambda: of(Ownership.OWN), 200), (None, 404)):
            state = State()
            router = make_router(
                state, Gateway(state.opening_keys, dispatch), two_pieces, standing=standing
            )
            async with serving_routes(router) as server:
                answer = await Client(server, state).ask("GET", "/v1/cluster")
                assert answer.status == status
                assert (answer.body == STATEMENT) is (status == 200)
                await server.server.drain(1)

    assert len(LARGE) > routes.LARGE_BYTES
    run(main)

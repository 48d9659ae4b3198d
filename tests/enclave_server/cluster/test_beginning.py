"""How enclaves begin: first, after another, at the same time, or not at all."""

from enclave_server.addresses import listen_socket
from tests.support.cluster_world import World


def test_the_first_begins_and_the_second_joins(world: World) -> None:
    first, second = world.start(0), world.start(1)
    assert first is not None
    assert second is not None
    assert first.member.leads
    assert not second.member.leads
    assert second.member.company.leader == first.member.company.member


def test_a_peer_that_says_nothing_is_no_reason_to_be_the_first(world: World) -> None:
    with listen_socket(world.addresses[1]):
        assert world.start(0) is None


def test_circles_of_followers_lead_nowhere(world: World) -> None:
    """The host has an enclave ask one that follows, and no leader."""
    assert world.start(0) is not None
    assert world.start(1) is not None
    world.separate(0, 2)
    assert world.start(2) is None

"""Followers: they serve with what their leader says, are heard of, and hand on secrets."""

from tests.support.cluster_world import SOON, World


def test_who_hangs_is_dropped_and_comes_back(world: World) -> None:
    nodes = world.started()
    nodes[1].paused = True
    world.run(SOON)
    assert len(nodes[0].told()["members"]) == 2
    nodes[1].paused = False
    world.run(2 * SOON)
    assert len(nodes[0].told()["members"]) == 3
    assert world.is_one()


def test_secrets_travel_whoever_they_are_given_to(world: World) -> None:
    nodes = world.started()
    nodes[2].proposals = [b"of the administrator"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"of the administrator"}
    world.kill(1)
    late = world.start(1)
    world.run(SOON)
    assert late is not None
    assert late.secrets == b"of the administrator"


def test_secrets_are_taken_once(world: World) -> None:
    nodes = world.started(2)
    nodes[0].proposals = [b"first"]
    world.tick()
    nodes[1].proposals = [b"second"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"first"}

"""Members in time: they join, share, lose each other, lead, and come together again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from enclave_server.cluster.member import GATHER_SECONDS, PATIENCE_SECONDS
from protocol.slots import SLOTS
from tests.support.cluster_world import ROUTE_SECONDS, SCHEDULE, Node, Sealed, World

SOON = 12.0
"""Longer than any turn takes: gathering, pace, acknowledgements, the time for routes."""


@pytest.fixture(name="world")
def a_world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


def started(world: World, count: int = 3) -> list[Node]:
    nodes = [world.start(place) for place in range(count)]
    world.run(SOON)
    assert all(nodes)
    return [node for node in nodes if node is not None]


def told(node: Node) -> dict[str, Any]:
    statement: dict[str, Any] = json.loads(node.standing.statement)
    return statement


def owners(world: World, key_id: int) -> list[int]:
    """Return for each slot how many nodes say that it is theirs."""
    counts = [0] * SLOTS
    for node in world.nodes.values():
        for first, last in told(node)["slots"].get(str(key_id), []):
            for slot in range(first, last + 1):
                counts[slot] += 1
    return counts


def is_one(world: World) -> bool:
    """Whether all nodes tell clients of the same keys, each slot of which has one owner."""
    lists = {node.keys.ohttp_keys for node in world.nodes.values()}
    newest = next(iter(world.nodes.values())).listed()[0]
    return len(lists) == 1 and owners(world, newest.key_id) == [1] * SLOTS


def test_the_first_owns_everything(world: World) -> None:
    (node,) = started(world, 1)
    assert node.member.leads
    assert is_one(world)
    assert told(node)["turns"] == 1


def test_three_have_one_list_and_share_its_slots(world: World) -> None:
    nodes = started(world)
    assert is_one(world)
    assert [node.member.leads for node in nodes] == [True, False, False]
    assert len({node.keys.tee_id for node in nodes}) == 1
    assert len({node.keys.evidence.document for node in nodes}) == 3
    assert {node.keys.evidence.ohttp_keys for node in nodes} == {nodes[0].keys.ohttp_keys}
    statement = told(nodes[1])
    assert statement["member"] == nodes[1].member.company.member.hex()
    assert statement["leader"] == nodes[0].member.company.member.hex()
    assert len(statement["members"]) == 3
    assert statement["unowned"] == 0


def test_who_joins_owns_nothing_of_keys_that_were_there(world: World) -> None:
    first = world.start(0)
    world.run(SOON)
    assert first is not None
    (old, *_) = first.listed()
    world.start(1)
    world.run(SOON)
    newest = first.listed()[0]
    assert newest.key_id != old.key_id
    assert told(world.nodes[0])["slots"][str(old.key_id)] == [[0, 255]]
    assert told(world.nodes[1])["slots"][str(old.key_id)] == []


def test_one_request_is_opened_by_one_member_alone(world: World) -> None:
    nodes = started(world)
    config = nodes[0].listed()[0]
    for slot in range(0, SLOTS, 17):
        request = Sealed(config, slot, world.unix, slot)
        statuses = sorted(node.open(request, world.unix) for node in nodes)
        assert statuses == [200, 421, 421]
        again = sorted(node.open(request, world.unix) for node in nodes)
        assert again == [409, 421, 421]


def test_a_key_is_in_all_statements_before_it_is_announced(world: World) -> None:
    started(world)
    before = world.nodes[0].keys.ohttp_keys
    world.kill(2)
    known_at = None
    while world.nodes[0].keys.ohttp_keys == before:
        world.tick()
        newest = str(world.nodes[0].keeper.ring.generations[0].first.key_id)
        if known_at is None and all(newest in told(node)["slots"] for node in world.nodes.values()):
            known_at = world.now
    assert known_at is not None
    assert world.now - known_at >= ROUTE_SECONDS


def test_a_lost_follower_is_replaced_by_a_new_key(world: World) -> None:
    nodes = started(world)
    config = nodes[0].listed()[0]
    lost = told(nodes[2])["slots"][str(config.key_id)][0][0]
    world.kill(2)
    world.run(SOON)
    assert is_one(world)
    assert world.nodes[0].listed()[0] != config
    request = Sealed(config, lost, world.unix, 1)
    assert [node.open(request, world.unix) for node in world.nodes.values()] == [422, 422]


def test_a_lost_leader_is_followed_by_another(world: World) -> None:
    started(world)
    turns = told(world.nodes[1])["turns"]
    lowest = min(world.nodes[place].member.company.member for place in (1, 2))
    world.kill(0)
    world.run(2 * PATIENCE_SECONDS + GATHER_SECONDS + SOON)
    (leader,) = world.leaders()
    assert leader.member.company.member == lowest
    assert is_one(world)
    assert told(leader)["turns"] == turns + 1


def test_who_comes_back_has_forgotten_and_owns_nothing_of_before(world: World) -> None:
    nodes = started(world)
    config = nodes[0].listed()[0]
    slot = told(nodes[1])["slots"][str(config.key_id)][0][0]
    request = Sealed(config, slot, world.unix, 1)
    assert nodes[1].open(request, world.unix) == 200
    world.kill(1)
    assert world.start(1) is not None
    world.run(SOON)
    assert is_one(world)
    statuses = [node.open(request, world.unix) for node in world.nodes.values()]
    assert 200 not in statuses


def test_who_hangs_is_dropped_and_comes_back(world: World) -> None:
    nodes = started(world)
    nodes[1].paused = True
    world.run(SOON)
    assert len(told(nodes[0])["members"]) == 2
    nodes[1].paused = False
    world.run(2 * SOON)
    assert len(told(nodes[0])["members"]) == 3
    assert is_one(world)


def test_a_member_whose_workers_lag_is_dropped_before_a_key_is_announced(world: World) -> None:
    nodes = started(world)
    nodes[1].settled = False
    world.kill(2)
    world.run(SOON)
    newest = nodes[0].listed()[0]
    assert owners(world, newest.key_id) == [1] * SLOTS
    assert told(nodes[0])["members"] == [nodes[0].member.company.member.hex()]


def test_two_leaders_of_one_family_come_together(world: World) -> None:
    started(world)
    for other in (1, 2):
        world.separate(0, other)
    world.run(3 * SOON)
    assert len(world.leaders()) == 2
    lists = {node.keys.ohttp_keys for node in world.nodes.values()}
    assert len(lists) == 2
    lowest = min(leader.member.company.member for leader in world.leaders())
    for other in (1, 2):
        world.join(0, other)
    world.run(5 * SOON)
    (leader,) = world.leaders()
    assert leader.member.company.member == lowest  # the higher one follows
    others = [node for node in world.nodes.values() if node is not leader]
    assert [len(node.member._followers) for node in others] == [0, 0]
    assert is_one(world)


def test_two_geneses_stay_two_clusters(world: World) -> None:
    world.separate(0, 1)
    assert world.start(0) is not None
    assert world.start(1) is not None
    world.join(0, 1)
    world.run(3 * SOON)
    assert len(world.leaders()) == 2
    assert world.nodes[0].keys.tee_id != world.nodes[1].keys.tee_id
    assert "other_cluster" in world.nodes[0].log.getvalue()


def test_keys_turn_by_themselves_and_every_member_announces_them(world: World) -> None:
    started(world)
    before = world.nodes[0].listed()
    for _ in range(round((SCHEDULE.lifetime - SCHEDULE.announce) / 2)):
        world.tick(2)
    world.run(SOON)
    after = world.nodes[0].listed()
    assert set(before) <= set(after)
    assert after[0] not in before
    assert is_one(world)


def test_secrets_travel_whoever_they_are_given_to(world: World) -> None:
    nodes = started(world)
    nodes[2].proposals = [b"of the administrator"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"of the administrator"}
    world.kill(1)
    late = world.start(1)
    world.run(SOON)
    assert late is not None
    assert late.secrets == b"of the administrator"


def test_secrets_are_taken_once(world: World) -> None:
    nodes = started(world, 2)
    nodes[0].proposals = [b"first"]
    world.tick()
    nodes[1].proposals = [b"second"]
    world.run(SOON)
    assert {node.secrets for node in nodes} == {b"first"}


def test_a_worker_keeps_nothing_of_its_parents_part(world: World) -> None:
    nodes = started(world, 2)
    nodes[1].proposals = [b"of the administrator"]
    world.run(SOON)
    assert nodes[0].member._newest_told is not None
    for node in nodes:
        node.member._proposed.append(b"of another")
        node.member.forget()
        node.keeper.forget()
        shown = vars(node.member)
        assert shown["_uplink"] is None
        assert shown["_signing"] == (b"", b"")
        assert shown["_secrets"] == b""
        assert shown["_pushed"] is None
        assert shown["_newest_told"] is None
        assert shown["_proposed"] == []
        assert shown["_standing_of"][0].generations == ()
        assert len(shown["_followers"]) == 0


def test_what_a_member_waits_for_are_its_peers(world: World) -> None:
    leader, follower = started(world, 2)
    uplink = follower.member._uplink
    assert uplink is not None
    link = uplink.joined.link.stream.socket
    assert link in follower.member.sockets
    (other,) = leader.member._followers.links
    assert other.stream.socket in leader.member.sockets
    for node in (leader, follower):
        assert set(node.member._doors.sockets) <= set(node.member.sockets)

"""Leaders: keys are for who is there, and are told of when all have them."""

import json

import pytest

from enclave_server.cluster.leading import PACE_SECONDS
from enclave_server.keys.attester import Attester
from enclave_server.security_module.nsm import NsmError
from protocol.slots import SLOTS
from tests.support.cluster_world import (
    ROUTE_SECONDS,
    SCHEDULE,
    SOON,
    TICK_SECONDS,
    Node,
    Sealed,
    World,
)


def test_who_joins_owns_nothing_of_keys_that_were_there(world: World) -> None:
    first = world.start(0)
    world.run(SOON)
    assert first is not None
    (old, *_) = first.listed()
    world.start(1)
    world.run(SOON)
    newest = first.listed()[0]
    assert newest.key_id != old.key_id
    assert world.nodes[0].told()["slots"][str(old.key_id)] == [[0, 255]]
    assert world.nodes[1].told()["slots"][str(old.key_id)] == []


def test_a_key_is_in_all_statements_before_it_is_announced(world: World) -> None:
    world.started()
    before = world.nodes[0].keys.ohttp_keys
    world.kill(2)
    known_at = None
    while world.nodes[0].keys.ohttp_keys == before:
        world.tick()
        newest = str(world.nodes[0].keeper.ring.generations[0].first.key_id)
        if known_at is None and all(
            newest in node.told()["slots"] for node in world.nodes.values()
        ):
            known_at = world.now
    assert known_at is not None
    assert world.now - known_at >= ROUTE_SECONDS


def test_a_lost_follower_is_replaced_by_a_new_key(world: World) -> None:
    nodes = world.started()
    config = nodes[0].listed()[0]
    lost = nodes[2].told()["slots"][str(config.key_id)][0][0]
    world.kill(2)
    world.run(SOON)
    assert world.is_one()
    assert world.nodes[0].listed()[0] != config
    request = Sealed(config, lost, world.unix, 1)
    assert [node.open(request, world.unix) for node in world.nodes.values()] == [422, 422]


def test_a_member_whose_workers_lag_is_dropped_before_a_key_is_announced(world: World) -> None:
    nodes = world.started()
    nodes[1].settled = False
    world.kill(2)
    world.run(SOON)
    newest = nodes[0].listed()[0]
    assert world.owners(newest.key_id) == [1] * SLOTS
    assert nodes[0].told()["members"] == [nodes[0].member.company.member.hex()]


def test_keys_turn_by_themselves_and_every_member_announces_them(world: World) -> None:
    world.started()
    before = world.nodes[0].listed()
    for _ in range(round((SCHEDULE.lifetime - SCHEDULE.announce) / 2)):
        world.tick(2)
    world.run(SOON)
    after = world.nodes[0].listed()
    assert set(before) <= set(after)
    assert after[0] not in before
    assert world.is_one()


def test_a_leader_without_evidence_goes_on_until_it_has_some_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing can be announced, and in time every key ends but the newest."""
    (node,) = world.started(1)

    def fail(*_: object) -> None:
        raise NsmError("InternalError", "nothing today")

    with monkeypatch.context() as failing:
        failing.setattr(Attester, "attest", fail)
        for _ in range(round((SCHEDULE.lifetime + SCHEDULE.grace) / 60) + 2):
            world.tick(60)
        assert (len(node.keeper.ring.generations), node.keeper.announced) == (1, False)
    world.run(SOON)
    assert node.keeper.announced
    assert world.is_one()


def cluster_events(node: Node) -> list[tuple[bool, int, int, int]]:
    """Return what the log tells of who is there: whether it leads, members, turns, unowned."""
    lines = [json.loads(line) for line in node.log.getvalue().splitlines()]
    return [
        (line["leads"], line["members"], line["turns"], line["unowned"])
        for line in lines
        if line["event"] == "cluster"
    ]


def test_the_log_tells_who_is_there_and_each_turn_of_the_keys(world: World) -> None:
    (node,) = world.started(1)
    assert cluster_events(node) == []  # nobody came
    assert world.start(1) is not None
    world.run(SOON)
    assert cluster_events(node) == [(True, 2, 1, 0), (True, 2, 2, 0)]
    world.kill(1)
    world.tick()
    # Half of the slots are nobody's until the keys have turned once more.
    assert cluster_events(node)[2:] == [(True, 1, 2, SLOTS // 2), (True, 1, 3, 0)]
    assert node.told()["turns"] == 3
    world.run(SCHEDULE.lifetime - SCHEDULE.announce - 2 * SOON)
    assert len(cluster_events(node)) == 4
    world.run(3 * SOON)
    assert cluster_events(node)[4:] == [(True, 1, 4, 0)]  # by their age


def test_nothing_is_announced_while_a_member_has_not_the_newest_keys(world: World) -> None:
    nodes = world.started()
    before = nodes[0].keys.ohttp_keys
    nodes[1].settled = False
    world.kill(2)
    alone = [nodes[0].member.company.member.hex()]
    for _ in range(round(2 * SOON / TICK_SECONDS)):
        world.tick()
        if nodes[0].told()["members"] == alone:
            break
        assert nodes[0].keys.ohttp_keys == before
    assert nodes[0].told()["members"] == alone
    world.run(SOON)
    assert nodes[0].keys.ohttp_keys != before


def test_each_change_is_told_under_a_number_of_its_own(world: World) -> None:
    nodes = world.started(2)
    leader, uplink = nodes[0].member._leader, nodes[1].member._uplink
    assert leader is not None
    assert uplink is not None
    before = leader._serial
    world.run(SOON)
    assert leader._serial == before  # nothing has changed
    nodes[1].proposals = [b"of the administrator"]
    world.run(SOON)
    assert nodes[1].secrets == b"of the administrator"
    assert leader._serial == before + 1
    assert leader._followers.have(leader._serial)
    assert not leader._followers.have(leader._serial + 1)


def test_keys_for_who_went_turn_no_more_often_than_their_pace(world: World) -> None:
    nodes = world.started()
    turns = nodes[0].told()["turns"]
    world.kill(2)
    world.tick()
    world.kill(1)
    found = [nodes[0].told()["turns"] - turns]
    for _ in range(round((PACE_SECONDS + 1) / TICK_SECONDS)):
        world.tick()
        found.append(nodes[0].told()["turns"] - turns)
    assert found.index(2) == found.index(1) + round(PACE_SECONDS / TICK_SECONDS)


def test_a_key_is_announced_when_its_time_for_routes_is_over(world: World) -> None:
    (node,) = world.started(1)
    leads = node.member._leader
    assert leads is not None
    leads._ready_at = 64.0
    told = [leads.may_announce(now) for now in (64.0, 63.5 + ROUTE_SECONDS, 64.0 + ROUTE_SECONDS)]
    assert told == [False, False, True]

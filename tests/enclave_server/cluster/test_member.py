"""Members in time: they join, share, lose each other, lead, and come together again."""

import json
from dataclasses import replace

import pytest

from enclave_server.addresses import listen_socket
from enclave_server.cluster import beginning, member
from enclave_server.cluster.doors import Doors
from enclave_server.cluster.handshake import Follower, Joined
from enclave_server.cluster.leading import GATHER_SECONDS
from enclave_server.cluster.member import PATIENCE_SECONDS
from enclave_server.cluster.seeking import Search
from enclave_server.cluster.stream import PeerGone
from protocol.cluster_join import Leadership
from protocol.slots import SLOTS
from tests.enclave_server.cluster.test_handshake import STATE
from tests.enclave_server.cluster.test_hostile_host import LOWEST
from tests.enclave_server.cluster.test_link import links
from tests.support.cluster_world import SOON, TICK_SECONDS, Sealed, World

DEADLINE = 60.0
"""Seconds after which a test fails rather than hang."""


def test_the_first_owns_everything(world: World) -> None:
    (node,) = world.started(1)
    assert node.member.leads
    assert world.is_one()
    assert node.told()["turns"] == 1


def test_three_have_one_list_and_share_its_slots(world: World) -> None:
    nodes = world.started()
    assert world.is_one()
    assert [node.member.leads for node in nodes] == [True, False, False]
    assert len({node.keys.tee_id for node in nodes}) == 1
    assert len({node.keys.evidence.document for node in nodes}) == 3
    assert {node.keys.evidence.ohttp_keys for node in nodes} == {nodes[0].keys.ohttp_keys}
    statement = nodes[1].told()
    assert statement["member"] == nodes[1].member.company.member.hex()
    assert statement["leader"] == nodes[0].member.company.member.hex()
    assert len(statement["members"]) == 3
    assert statement["unowned"] == 0


def test_one_request_is_opened_by_one_member_alone(world: World) -> None:
    nodes = world.started()
    config = nodes[0].listed()[0]
    for slot in range(0, SLOTS, 17):
        request = Sealed(config, slot, world.unix, slot)
        statuses = sorted(node.open(request, world.unix) for node in nodes)
        assert statuses == [200, 421, 421]
        again = sorted(node.open(request, world.unix) for node in nodes)
        assert again == [409, 421, 421]


def test_a_lost_leader_is_followed_by_another(world: World) -> None:
    world.started()
    turns = world.nodes[1].told()["turns"]
    lowest = min(world.nodes[place].member.company.member for place in (1, 2))
    world.kill(0)
    world.run(2 * PATIENCE_SECONDS + GATHER_SECONDS + SOON)
    (leader,) = world.leaders()
    assert leader.member.company.member == lowest
    assert world.is_one()
    assert leader.told()["turns"] == turns + 1
    (other,) = (node for node in world.nodes.values() if node is not leader)
    events = [json.loads(line) for line in other.log.getvalue().splitlines()]
    assert not any(each["leads"] for each in events if each["event"] == "cluster")


def test_who_has_lost_its_leader_follows_none_of_another_family(world: World) -> None:
    world.separate(0, 1)
    world.separate(1, 2)
    for place in range(3):
        assert world.start(place) is not None
    world.run(SOON)
    assert len(world.leaders()) == 2
    world.join(1, 2)
    world.kill(0)
    world.run(2 * PATIENCE_SECONDS + SOON)
    assert [node.member.leads for node in world.nodes.values()] == [True, True]


def test_who_comes_back_has_forgotten_and_owns_nothing_of_before(world: World) -> None:
    nodes = world.started()
    config = nodes[0].listed()[0]
    slot = nodes[1].told()["slots"][str(config.key_id)][0][0]
    request = Sealed(config, slot, world.unix, 1)
    assert nodes[1].open(request, world.unix) == 200
    world.kill(1)
    assert world.start(1) is not None
    world.run(SOON)
    assert world.is_one()
    statuses = [node.open(request, world.unix) for node in world.nodes.values()]
    assert 200 not in statuses


def test_two_leaders_of_one_family_come_together(world: World) -> None:
    world.started()
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
    assert [node.member._leader for node in others] == [None, None]
    assert world.is_one()


def test_two_geneses_stay_two_clusters(world: World) -> None:
    world.separate(0, 1)
    assert world.start(0) is not None
    assert world.start(1) is not None
    world.join(0, 1)
    world.run(3 * SOON)
    assert len(world.leaders()) == 2
    assert world.nodes[0].keys.tee_id != world.nodes[1].keys.tee_id
    assert "other_cluster" in world.nodes[0].log.getvalue()


def test_a_worker_keeps_nothing_of_its_parents_part(world: World) -> None:
    nodes = world.started(2)
    nodes[1].proposals = [b"of the administrator"]
    world.run(SOON)
    leader = nodes[0].member._leader
    assert leader is not None
    assert leader._newest_told is not None
    leader._proposed.append(b"of another")
    for node in nodes:
        node.member.forget()
        node.keeper.forget()
        shown = vars(node.member)
        assert shown["_uplink"] is None
        assert shown["_part"].signing == (b"", b"")
        assert shown["_part"].secrets == b""
        assert shown["_standing_of"][0].generations == ()
    kept = vars(leader)
    assert (kept["_pushed"], kept["_newest_told"], kept["_proposed"]) == (None, None, [])
    assert len(leader) == 0


def test_a_cluster_that_is_full_takes_nobody_and_makes_no_second_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "MAX_OWNERS", 2)
    monkeypatch.setattr(beginning, "secrets", LOWEST)
    nodes = world.started(2)
    assert len(nodes) == 2
    assert world.start(2) is None
    world.run(SOON)
    assert world.is_one()


def test_of_several_who_come_at_once_one_has_the_last_place(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "MAX_OWNERS", 2)
    (node,) = world.started(1)
    ends = [links()[0] for _ in range(3)]
    come = [Follower(bytes([place]) * 16, link) for place, link in enumerate(ends)]
    monkeypatch.setattr(Doors, "step", lambda *_: come)
    node.member.step(world.unix, world.now, settled=True)
    assert [link.stream.socket.fileno() >= 0 for link in ends] == [True, False, False]


def test_what_a_member_waits_for_are_its_peers(world: World) -> None:
    leader, follower = world.started(2)
    uplink, leads = follower.member._uplink, leader.member._leader
    assert uplink is not None
    assert leads is not None
    assert uplink.socket in follower.member.sockets
    (other,) = leads.sockets
    assert other in leader.member.sockets
    for node in (leader, follower):
        assert set(node.member._doors.sockets) <= set(node.member.sockets)


def test_who_leaves_is_missed_at_once(world: World) -> None:
    """However long a member may be silent otherwise."""
    nodes = world.started()
    world.kill(2)
    world.tick()
    assert len(nodes[0].member.company.members) == 2
    world.kill(0)
    world.tick()
    assert nodes[1].member.company.leader is None
    events = [json.loads(line) for line in nodes[1].log.getvalue().splitlines()]
    assert [each["members"] for each in events if each["event"] == "leader_lost"] == [1]


def test_another_cluster_is_told_of_once(world: World) -> None:
    world.separate(0, 1)
    assert world.start(0) is not None
    assert world.start(1) is not None
    world.join(0, 1)
    world.run(6 * SOON)
    for node in world.nodes.values():
        assert node.log.getvalue().count("other_cluster") == 1


def test_who_begins_to_lead_hangs_up_on_whom_it_asked_before(world: World) -> None:
    world.started(2)
    with listen_socket(world.addresses[2]) as silent:
        world.kill(0)
        world.tick()
        with silent.accept()[0] as asked:
            asked.settimeout(DEADLINE)
            world.run(PATIENCE_SECONDS + TICK_SECONDS)
            assert world.nodes[1].member.leads
            assert asked.recv(1 << 16)
            assert asked.recv(1) == b""


def test_who_leaves_hangs_up_on_whom_it_asked(world: World) -> None:
    world.started(2)
    with listen_socket(world.addresses[2]) as silent:
        world.kill(0)
        world.tick()
        with silent.accept()[0] as asked:
            asked.settimeout(DEADLINE)
            world.kill(1)
            assert asked.recv(1 << 16)
            assert asked.recv(1) == b""


def test_a_leader_whose_state_is_refused_is_hung_up_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (node,) = world.started(1)
    ours, theirs = links()
    joined = Joined(b"m" * 16, ours, STATE)  # of another family
    monkeypatch.setattr(Search, "step", lambda *_: joined)
    node.member.step(world.unix, world.now, settled=True)
    assert node.member.leads
    with pytest.raises(PeerGone):
        theirs.receive()


def test_a_leader_that_follows_another_lets_its_followers_go(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, follower = (node.member for node in world.started(2))
    leads, other = leader._leader, b"\0" * 16
    assert leads is not None
    me = leader.company.member
    state = replace(leads._state(), leader=other, members=frozenset({me, other}))
    with monkeypatch.context() as finding:
        finding.setattr(Search, "step", lambda *_: Joined(me, links()[0], state))
        leader.step(world.unix, world.now, settled=True)
    assert leader.company.leader == other
    follower.step(world.unix, world.now, settled=True)
    assert follower.company.leader is None  # at once, and not when it has been silent for long


def test_who_joins_has_the_leader_s_state_under_its_number(world: World) -> None:
    (node,) = world.started(1)
    leads = node.member._leader
    assert leads is not None
    assert leads._serial == 1
    joined = world.start(1)
    assert joined is not None
    uplink = joined.member._uplink
    assert uplink is not None
    assert uplink.joined.state.serial == 1


def test_only_who_is_lower_is_followed_by_a_leader(world: World) -> None:
    """Not itself, should the host have its questions come back to it."""
    (node,) = world.started(1)
    me = int.from_bytes(node.member.company.member)
    for other, above in ((me - 1, True), (me, False), (me + 1, False)):
        leadership = Leadership(other.to_bytes(16), node.member._family)
        assert node.member._is_above(leadership) is above

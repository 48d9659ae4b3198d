"""What a host tries that carries between enclaves: it can stop them, and gets nothing else."""

import itertools
import socket
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from enclave_server.cluster import beginning
from enclave_server.cluster.doors import MAX_ENTRANCES
from enclave_server.cluster.followers import ACK_SECONDS
from enclave_server.cluster.handshake import JOIN_SECONDS
from enclave_server.cluster.member import PATIENCE_SECONDS
from enclave_server.keys import shared_ring
from enclave_server.keys.ring import KeyRing, Schedule
from enclave_server.security_module.clock import ClockError
from protocol.cluster_frames import encode_frame
from protocol.slots import SLOTS
from scripts.fuzzing.mutator import mutations
from tests.support.cluster_world import SCHEDULE, SOON, TICK_SECONDS, Node, Sealed, World

MUTATED = 150
LOWEST = SimpleNamespace(token_bytes=lambda size: bytes(size - 1) + b"\1")
"""Gives a beginner the lowest nonce: of several it is the first."""


def claims(world: World) -> int:
    """Return the most enclaves that state one slot of one key, by the key's private part."""
    counts: dict[tuple[bytes, int], int] = {}
    for node in world.nodes.values():
        for generation in node.keeper.ring.generations:
            slots = [] if generation.holding is None else generation.holding.slots
            for slot in slots:
                place = generation.first.private_key, slot
                counts[place] = counts.get(place, 0) + 1
    return max(counts.values())


def run_watched(world: World, seconds: float) -> None:
    """Let time pass; at no moment may two own one slot of one key."""
    for _ in range(round(seconds / TICK_SECONDS)):
        world.tick()
        assert claims(world) == 1


def family(node: Node) -> str:
    return node.keys.tee_id


def private_keys(node: Node) -> set[bytes]:
    return {key.private_key for each in node.keeper.ring.generations for key in each.keys}


def test_a_join_that_is_replayed_admits_nobody(world: World) -> None:
    (leader,) = world.started(1)
    carrier = world.carry(1, 0)
    assert world.start(1) is not None
    (carried,) = carrier.connections
    recorded = bytes(carried.up[: carried.sent_up])
    world.kill(1)
    world.run(SOON)
    members = leader.member.company.members
    assert len(members) == 1
    with socket.socket(socket.AF_UNIX) as host:
        host.connect(world.addresses[0].path)
        host.sendall(recorded)
        world.run(2)
        host.settimeout(0)
        answer = b""
        while piece := host.recv(1 << 16):
            answer += piece
    # A lead, as whoever says hello gets, and no welcome after it.
    assert len(answer) == 2 + int.from_bytes(answer[:2], "big")
    world.run(SOON)
    assert leader.member.company.members == members
    assert '"joins_refused"' in leader.log.getvalue()


def test_what_is_carried_shows_no_key(world: World) -> None:
    nodes = world.started(1)
    nodes[0].proposals = [b"of the administrator"]
    carrier = world.carry(1, 0)
    assert world.start(1) is not None
    world.run(SOON)
    rsa, ed25519 = nodes[0].member._part.signing
    secret = {*private_keys(nodes[0]), ed25519, rsa[-64:], b"of the administrator"}
    for carried in carrier.connections:
        assert len(carried.down) > 5000
        assert not any(each in stream for each in secret for stream in (carried.up, carried.down))


def test_a_turn_that_is_delayed_is_a_turn_without_who_waits(world: World) -> None:
    world.started(1)
    carriers = world.carry(1, 0), world.carry(0, 1)
    for place in (1, 2):
        assert world.start(place) is not None
    world.run(SOON)
    assert world.is_one()
    before = world.nodes[1].listed()[0]
    for carrier in carriers:
        carrier.held = True
    world.kill(2)
    run_watched(world, ACK_SECONDS + SOON)
    assert world.nodes[0].listed()[0] != before
    assert [len(node.told()["members"]) for node in world.nodes.values()] == [1, 1]
    for carrier in carriers:
        carrier.held = False
    run_watched(world, 4 * SOON)
    assert world.is_one()


def test_octets_that_are_held_for_a_little_less_than_that_change_nothing(world: World) -> None:
    world.started(1)
    carrier = world.carry(1, 0)
    assert world.start(1) is not None
    world.run(SOON)
    listed = world.nodes[1].listed()
    for _ in range(4):
        carrier.held = True
        world.run(3)
        carrier.held = False
        world.run(1)
    assert world.nodes[1].listed() == world.nodes[0].listed() == listed
    assert "leader_lost" not in world.nodes[1].log.getvalue()
    assert world.is_one()


@pytest.mark.parametrize("part", range(8))
def test_a_leader_that_is_gone_in_the_middle_of_a_message_leaves_nothing(
    world: World, part: int
) -> None:
    """Cut in a lead, a welcome, a state; what has joined by then takes the whole or nothing."""
    world.started(1)
    carrier = world.carry(1, 0)
    whole = world.start(1)
    assert whole is not None
    (carried,) = carrier.connections
    size = carried.sent_down
    world.kill(1)
    world.run(SOON)
    carrier.downward = max(1, size * part // 8 + part % 3)
    cuts = len(carrier.connections)
    carrier.mended_after = cuts + 2
    again = world.start(1)
    assert len(carrier.connections) > cuts + 1
    assert again is not None
    assert family(again) == family(world.nodes[0])
    world.run(SOON)
    assert world.is_one()


def test_a_state_that_is_cut_is_not_taken(world: World) -> None:
    world.started(1)
    carrier = world.carry(1, 0)
    node = world.start(1)
    assert node is not None
    world.run(SOON)
    ring, (carried,) = node.keeper.ring, carrier.connections
    world.start(2)  # a new key is made, whose state comes in pieces
    before = carried.sent_down
    carrier.held = True
    while len(carried.down) <= before + 1000:
        world.tick()
    carrier.downward, carrier.held = before + 700, False
    world.tick()
    assert node.keeper.ring is ring
    assert node.member.company.leader is None
    carrier.downward = None
    run_watched(world, 4 * SOON)
    assert world.is_one()


def test_enclaves_that_are_led_to_themselves_join_nobody_and_then_each_other(world: World) -> None:
    world.started()
    for place, other in itertools.permutations(range(3), 2):
        world.ways[place, other] = world.addresses[place]
    world.kill(0)
    run_watched(world, 3 * PATIENCE_SECONDS + SOON)
    assert len(world.leaders()) == 2
    assert all(len(node.told()["members"]) == 1 for node in world.nodes.values())
    world.ways.clear()
    run_watched(world, 5 * SOON)
    assert len(world.leaders()) == 1
    assert world.is_one()


def test_followers_in_a_circle_lead_a_beginner_nowhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one whose nonce is lower than all others: it would be a second cluster."""
    monkeypatch.setattr(beginning, "secrets", LOWEST)
    world.started(2)
    world.ways[2, 0] = world.addresses[1]
    assert world.start(2) is None


def test_a_beginner_is_no_first_one_while_others_look_for_their_next_leader(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beginning, "secrets", LOWEST)
    nodes = world.started()
    world.kill(0)
    world.tick()
    assert all(node.member.company.leader is None for node in world.nodes.values())
    late = world.start(0)
    assert late is not None
    assert family(late) == family(nodes[1])
    world.run(2 * SOON)
    assert world.is_one()


def test_members_of_one_family_never_take_keys_of_another(world: World) -> None:
    world.separate(0, 1)
    world.separate(1, 2)
    for place in range(3):
        assert world.start(place) is not None
    world.run(SOON)
    ours, theirs = world.nodes[2], world.nodes[1]
    assert family(ours) == family(world.nodes[0]) != family(theirs)
    request = Sealed(theirs.listed()[0], 5, world.unix, 1)
    world.kill(0)
    world.cut.clear()
    world.ways[2, 0] = world.addresses[1]  # whom it asks for its own is a leader of others
    world.run(3 * SOON)
    assert family(ours) != family(theirs)
    assert private_keys(ours).isdisjoint(private_keys(theirs))
    assert ours.member.leads
    assert [node.open(request, world.unix) for node in (ours, theirs)] == [422, 200]


def test_no_message_stops_a_leader(world: World) -> None:
    """Of those that anybody can send who reaches the door."""
    world.started(1)
    carrier = world.carry(1, 0)
    assert world.start(1) is not None
    seeds = [bytes(carrier.connections[0].up[:size]) for size in (50, 3000, 1 << 16)]
    seeds += [encode_frame(b"\xa2avah"), b"\xff" * 40]
    world.kill(1)
    for data in itertools.islice(mutations(seeds, 15, 1 << 14), MUTATED):
        with socket.socket(socket.AF_UNIX) as host:
            host.connect(world.addresses[0].path)
            host.sendall(data)
            world.tick()
    world.run(SOON)
    assert world.leaders() == [world.nodes[0]]
    world.ways.clear()
    assert world.start(1) is not None
    world.run(SOON)
    assert world.is_one()


def test_joins_that_are_begun_and_left_cost_others_their_time_only(world: World) -> None:
    world.started(1)
    knocking = []
    for _ in range(4 * MAX_ENTRANCES):
        host = socket.socket(socket.AF_UNIX)
        host.connect(world.addresses[0].path)
        host.sendall(b"\x20\x00begun")
        knocking.append(host)
    world.tick()
    assert len(world.nodes[0].member._doors._entrances) == MAX_ENTRANCES
    world.run(2 * JOIN_SECONDS)
    assert world.start(1) is not None
    world.run(SOON)
    assert world.is_one()
    for host in knocking:
        host.close()


def test_two_keys_of_one_identifier_are_opened_by_one_each(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host cuts a cluster until both halves choose alike, and mends it then."""
    free = shared_ring._free_ids
    world.started(2)
    taken = {key.key_id for each in world.nodes[0].keeper.ring.generations for key in each.keys}
    chosen = next(octet for octet in range(256) if {octet, octet + 1}.isdisjoint(taken))

    def alike(ring: KeyRing) -> Sequence[int]:
        return [chosen] if chosen in free(ring) else free(ring)

    monkeypatch.setattr(shared_ring, "_free_ids", alike)
    world.separate(0, 1)
    world.run(3 * SOON)
    nodes = list(world.nodes.values())
    listed = [node.listed()[0] for node in nodes]
    assert [config.key_id for config in listed] == [chosen, chosen]
    assert listed[0] != listed[1]
    requests = [
        Sealed(config, slot, world.unix, 1000 * place + slot)
        for place, config in enumerate(listed)
        for slot in range(SLOTS)
    ]
    opened: Counter[int] = Counter()

    def send(some: Sequence[Sealed]) -> None:
        for request in some:
            for node in nodes:
                opened[request.number] += node.open(request, world.unix) == 200
        assert max(opened.values()) == 1

    send(requests[::2])
    world.join(0, 1)
    for _ in range(round(5 * SOON / TICK_SECONDS)):
        world.tick()
        assert claims(world) == 1
        send(requests[:: SLOTS // 4])
    assert world.is_one()
    send(requests)
    assert sum(opened.values()) > SLOTS


def test_a_leader_whose_clock_jumps_ends_and_its_keys_are_nobodys(world: World) -> None:
    """Three hours ahead, in the moment in which it has keys to make for who came."""
    nodes = world.started(2)
    assert world.start(2) is not None
    longest = SCHEDULE.announce + SCHEDULE.lifetime + SCHEDULE.grace
    while len(nodes[0].told()["members"]) < 3:
        world.tick(0.1)
    leader = nodes[0].member._leader
    assert leader is not None
    leader._turn_at = world.now
    turns = nodes[0].member.company.turns
    with pytest.raises(ClockError):
        nodes[0].step(world.unix + 3 * 3600, world.now)
    assert nodes[0].member.company.turns > turns
    nodes[0].paused = True
    world.tick()
    for place in (1, 2):
        for each in world.nodes[place].keeper.ring.generations:
            assert each.ends <= world.unix + longest
    world.kill(0)
    run_watched(world, 3 * SOON)
    assert world.is_one()


def test_a_key_that_turns_while_somebody_joins_has_one_owner_a_slot(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    world = World(tmp_path_factory.mktemp("w"), schedule=Schedule(60, 20, 20))
    try:
        world.started(2)
        turns = world.nodes[0].told()["turns"]
        retires = world.nodes[0].keeper.ring.generations[0].retires
        # The join takes some ticks; the key turns in the middle of them, or beside.
        while retires - 20 - world.unix > 0.15:
            world.tick(0.1)
        assert world.nodes[0].told()["turns"] == turns
        assert world.start(2) is not None
        assert world.nodes[0].told()["turns"] > turns
        run_watched(world, SOON)
        assert world.is_one()
        assert world.owners(world.nodes[2].listed()[0].key_id) == [1] * SLOTS
    finally:
        world.close()


def test_a_paused_leader_that_goes_on_serves_what_was_its_own_and_then_follows(
    world: World,
) -> None:
    nodes = world.started()
    config = nodes[0].listed()[0]
    slot = nodes[0].told()["slots"][str(config.key_id)][0][0]
    request = Sealed(config, slot, world.unix, 1)
    nodes[0].paused = True
    run_watched(world, ACK_SECONDS + 2 * PATIENCE_SECONDS + SOON)
    assert nodes[1].listed()[0] != config
    assert [node.open(request, world.unix) for node in nodes[1:]] == [422, 422]
    nodes[0].paused = False
    run_watched(world, 5 * SOON)
    assert world.is_one()
    # Whom the others follow now has to do with identifiers, and nothing with this.
    for own in (200, 409):
        statuses = [node.open(request, world.unix) for node in nodes]
        assert statuses[0] == own
        assert set(statuses[1:]) <= {421, 422}

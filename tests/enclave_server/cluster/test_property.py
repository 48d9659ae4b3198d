"""No sealed request is opened twice, and after the faults end every client is served.

Hypothesis drives real members over real sockets: it boots and kills enclaves, cuts and mends the
network between any two, has them hang while their workers go on, lets time pass, and sends requests
to whichever enclave it likes, as a router with any map would, again and again.
"""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.slots import SLOTS
from tests.support.cluster_world import Node, Sealed, World

PLACES = 3
PLACE = st.integers(0, PLACES - 1)
PAIR = st.sampled_from([(0, 1), (0, 2), (1, 2)])
HEALING_SECONDS = 60.0
EXAMPLES = int(os.environ.get("CLUSTER_EXAMPLES", "6"))
STEPS = int(os.environ.get("CLUSTER_STEPS", "25"))


class Clusters(RuleBasedStateMachine):
    """Three places for enclaves, and whatever may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.world = World(self.folder, PLACES)
        self.sealed: list[Sealed] = []
        self.opened: list[int] = []

    @initialize()
    def begin(self) -> None:
        for place in range(PLACES):
            self.world.start(place)
        self.world.run(8)

    @rule(place=PLACE)
    def boot(self, place: int) -> None:
        if place not in self.world.nodes:
            self.world.start(place)

    @rule(place=PLACE)
    def kill(self, place: int) -> None:
        if place in self.world.nodes:
            self.world.kill(place)

    @rule(pair=PAIR)
    def cut(self, pair: tuple[int, int]) -> None:
        self.world.separate(*pair)

    @rule(pair=PAIR)
    def mend(self, pair: tuple[int, int]) -> None:
        self.world.join(*pair)

    @rule(place=PLACE, paused=st.booleans())
    def hang(self, place: int, paused: bool) -> None:
        if place in self.world.nodes:
            self.world.nodes[place].paused = paused

    @rule(seconds=st.sampled_from([0.25, 1, 3, 7, 20]))
    def wait(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(seconds=st.sampled_from([120, 400, 1200]))
    def wait_long(self, seconds: float) -> None:
        for _ in range(40):
            self.world.tick(seconds / 40)

    @precondition(lambda self: self.world.nodes)
    @rule(place=PLACE, slot=st.integers(0, SLOTS - 1))
    def seal(self, place: int, slot: int) -> None:
        node = self.world.nodes.get(place)
        if node is not None:
            self._seal(node, slot)

    @precondition(lambda self: self.sealed)
    @rule(data=st.data())
    def send(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.sealed))
        for place in data.draw(st.permutations(range(PLACES))):
            node = self.world.nodes.get(place)
            if node is not None and node.open(request, self.world.unix) == 200:
                self.opened.append(request.number)

    @invariant()
    def no_request_is_opened_twice(self) -> None:
        assert len(self.opened) == len(set(self.opened))

    def teardown(self) -> None:
        try:
            self._heal()
            self.no_request_is_opened_twice()
        finally:
            self.world.close()
            shutil.rmtree(self.folder)

    def _heal(self) -> None:
        self.world.cut.clear()
        for node in self.world.nodes.values():
            node.paused = False
        self.world.run(HEALING_SECONDS)
        families: dict[str, list[Node]] = {}
        for node in self.world.nodes.values():
            families.setdefault(node.keys.tee_id, []).append(node)
        for nodes in families.values():
            assert len([node for node in nodes if node.member.leads]) == 1
            assert len({node.keys.ohttp_keys for node in nodes}) == 1
            for slot in range(0, SLOTS, 5):
                request = self._seal(nodes[0], slot)
                statuses = [node.open(request, self.world.unix) for node in nodes]
                assert statuses.count(200) == 1
                assert statuses.count(421) == len(nodes) - 1
                self.opened.append(request.number)

    def _seal(self, node: Node, slot: int) -> Sealed:
        request = Sealed(node.listed()[0], slot, self.world.unix, len(self.sealed))
        self.sealed.append(request)
        return request


Clusters.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None
)
TestClusters = Clusters.TestCase

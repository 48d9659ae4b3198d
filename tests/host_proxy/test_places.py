"""Who gets which request, and whose list is told, from what all members say."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from host_proxy.haproxy import Admission, Server
from host_proxy.places import Alarm, Company, Member, Plan, Standing, plan
from host_proxy.statements import Cluster, Ranges, Statement

NAMES = {"a": "aa" * 16, "b": "bb" * 16, "c": "cc" * 16}


def member(
    name: str,
    *keys: int,
    admission: Admission = Admission.READY,
    weight: int = 0,
    ready: bool = True,
) -> Member:
    """An enclave with keys of its own; one without keys does not answer."""
    said = Statement(keys, bytes(keys), ready) if keys else None
    return Member(Server(name, "127.0.0.1", 1, admission, weight), said)


def clustered(
    name: str,
    slots: Mapping[int, Ranges],
    others: str = "abc",
    listed: bytes = b"list",
    *,
    ready: bool = True,
) -> Member:
    """A member of a cluster of those `others`."""
    cluster = Cluster(NAMES[name], frozenset(NAMES[o] for o in others), 5, 2, tuple(slots.items()))
    said = Statement(tuple(slots), listed, ready, cluster)
    return Member(Server(name, "127.0.0.1", 1, Admission.READY, 1), said)


def told(decided: Plan) -> list[str]:
    return [name for name, weight in decided.weights.items() if weight]


def test_each_key_leads_to_who_has_it_and_one_list_is_told() -> None:
    decided = plan([member("a", 1, 2), member("b", 3, 4)], {})
    assert decided.places == {"01": "a", "02": "a", "03": "b", "04": "b"}
    assert told(decided) == ["a"]
    assert decided.standings == {"a": Standing.ANNOUNCED, "b": Standing.SPARE}
    assert not decided.alarms


def test_the_announced_one_stays_while_it_is_well() -> None:
    assert told(plan([member("a", 1), member("b", 2, weight=1)], {})) == ["b"]
    assert told(plan([member("a", 1), member("b", weight=1)], {})) == ["a"]
    assert told(plan([member("a", 1), member("b", 2, weight=1, ready=False)], {})) == ["a"]
    assert told(plan([member("a", 1, ready=False), member("b", weight=1)], {})) == ["a"]


def test_a_drained_one_is_asked_and_not_announced() -> None:
    decided = plan([member("a", 1, weight=1, admission=Admission.DRAIN), member("b", 2)], {})
    assert decided.places == {"01": "a", "02": "b"}
    assert told(decided) == ["b"]
    assert decided.standings["a"] is Standing.DRAINED


def test_who_is_taken_out_or_silent_has_no_place() -> None:
    present = {"01": "a", "02": "b"}
    decided = plan([member("a", 1, admission=Admission.OUT), member("b"), member("c", 3)], present)
    assert decided.places == {"03": "c"}
    assert decided.standings["a"] is Standing.OUT
    assert decided.standings["b"] is Standing.LOST


def test_a_retired_key_stays_until_somebody_else_has_it() -> None:
    present = {"01": "a", "told": "all"}
    assert plan([member("a", 3)], present).places == {"01": "a", "03": "a"}
    assert plan([member("a", 3), member("b", 1)], present).places == {"03": "a", "01": "b"}


def test_keys_that_meet_stay_where_they_are() -> None:
    both = [member("a", 1, 2), member("b", 2, 3)]
    decided = plan(both, {"02": "b", "03": "b"})
    assert decided.places == {"01": "a", "02": "b", "03": "b"}
    assert decided.standings["a"] is Standing.COLLIDING
    assert told(decided) == ["b"]
    assert decided.alarms == {Alarm.COLLISION}
    assert plan(both, {}).places["02"] == "a"


def test_nobody_takes_a_place_by_having_another() -> None:
    present = {"01": "a", "02": "b", "03": "b"}
    for liar in (member("a", 1, 2, 3), member("a", *range(256))):
        decided = plan([liar, member("b", 2, 3, weight=1)], present)
        assert [decided.places[place] for place in ("01", "02", "03")] == ["a", "b", "b"]
        assert decided.standings["a"] is Standing.COLLIDING
        assert told(decided) == ["b"]
        assert decided.alarms == {Alarm.COLLISION}


def test_nobody_takes_a_slot_by_having_another() -> None:
    liar, other = clustered("a", {7: ((0, 255),)}), clustered("b", {7: ((2, 3),)})
    decided = plan([liar, other], {"0700": "a", "0702": "b", "0703": "b"})
    assert (decided.places["0702"], decided.places["0700"]) == ("b", "a")
    assert decided.standings["a"] is Standing.COLLIDING
    assert decided.alarms == {Alarm.CLAIMED_TWICE}


def test_a_clusters_slots_lead_to_their_owners_and_all_are_announced() -> None:
    decided = plan(
        [
            clustered("a", {7: ((0, 1),), 8: ()}),
            clustered("b", {7: ((2, 3),), 8: ()}),
            clustered("c", {7: (), 8: ((9, 9),)}),
        ],
        {},
    )
    assert decided.places == {"0700": "a", "0701": "a", "0702": "b", "0703": "b", "0809": "c"}
    assert told(decided) == ["a", "b", "c"]
    assert decided.company == Company(3, 5, 2)
    assert not decided.alarms


def test_of_a_cluster_those_are_announced_that_are_ready_or_else_all() -> None:
    """An enclave that waits for its secrets has its slots, and answers who asks for them."""
    for ready, announced in (("ab", "ab"), ("b", "b"), ("", "ab")):
        members = [
            clustered("a", {7: ((0, 1),)}, "ab", ready="a" in ready),
            clustered("b", {7: ((2, 3),)}, "ab", ready="b" in ready),
        ]
        decided = plan(members, {})
        assert told(decided) == [*announced]
        assert len(decided.places) == 4


def test_a_lost_owners_slots_lead_nowhere() -> None:
    present = {"0700": "a", "0702": "b"}
    decided = plan([clustered("a", {7: ((0, 0),)}), member("b")], present)
    assert decided.places == {"0700": "a"}


def test_a_slot_that_two_state_is_an_alarm() -> None:
    decided = plan([clustered("a", {7: ((0, 9),)}), clustered("b", {7: ((9, 12),)})], {})
    assert decided.alarms == {Alarm.CLAIMED_TWICE}
    assert decided.places["0709"] == "a"


def test_lists_that_differ_in_a_cluster_are_an_alarm() -> None:
    decided = plan([clustered("a", {7: ()}), clustered("b", {7: ()}, listed=b"other")], {})
    assert decided.alarms == {Alarm.LISTS_DIFFER}


def test_two_clusters_are_an_alarm_until_one_is_drained() -> None:
    one, two = clustered("a", {7: ()}, "a"), clustered("b", {9: ()}, "b")
    decided = plan([one, two], {})
    assert decided.alarms == {Alarm.SPLIT}
    assert told(decided) == ["a"]
    drained = Member(Server("a", "127.0.0.1", 1, Admission.DRAIN, 1), one.said)
    decided = plan([drained, two], {})
    assert not decided.alarms
    assert told(decided) == ["b"]


def test_with_nobody_left_the_weights_stay() -> None:
    decided = plan([member("a"), member("b", admission=Admission.OUT)], {"01": "a"})
    assert decided.alarms == {Alarm.NOBODY}
    assert decided.weights == {}
    assert decided.places == {}


@given(
    st.lists(st.lists(st.integers(0, 255), max_size=6), max_size=4),
    st.dictionaries(st.integers(0, 255).map("{:02X}".format), st.sampled_from("0123")),
)
def test_whatever_is_said_a_place_leads_to_who_has_or_had_it(
    keys: list[list[int]], present: dict[str, str]
) -> None:
    members = [member(str(number), *each) for number, each in enumerate(keys)]
    decided = plan(members, present)
    for place, name in decided.places.items():
        assert int(place, 16) in keys[int(name)] or present[place] == name
    assert set(decided.places) >= {f"{key:02X}" for each in keys for key in each}
    assert sum(decided.weights.values()) <= 1


def test_a_key_of_two_clusters_is_a_collision_even_where_their_slots_are_not() -> None:
    """Of a request to a slot that neither states nobody knows whose it is."""
    one, two = clustered("a", {7: ((0, 9),)}, "a"), clustered("b", {7: ((10, 19),)}, "b")
    decided = plan([one, two], {})
    assert decided.standings == {"a": Standing.ANNOUNCED, "b": Standing.COLLIDING}
    assert decided.alarms == {Alarm.CLAIMED_TWICE}
    beside = plan([member("c", 7), one], {})
    assert beside.standings == {"c": Standing.ANNOUNCED, "a": Standing.COLLIDING}

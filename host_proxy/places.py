"""Who gets which sealed request, and whose list of keys is told: decided anew in each round.

A place is a key identifier in two hexadecimal digits, where one enclave has the key alone, or that
and two digits of the slot, where a cluster shares it. The front looks a request's place up in a map
of place to server, first with the slot and then without, and answers 422 itself where it has none.

- What an enclave states goes to it. Of two that state one place, the one that has it keeps it, and
  the other is told of in an alarm; it gets no list told until it has started with other keys.
- A retired key is listed no more and opens requests for a while yet. So the place of an enclave
  that is alone stays while it answers and nobody else states it; it refuses by itself what is over.
- An enclave that does not answer, or is taken out, has no place.
- One list is told to everybody, that of the announced enclaves: one that is alone, or all of one
  cluster. They stay announced while one of them is well, so that users stay one crowd; else the
  first in the configuration's order follow.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from host_proxy.haproxy import Admission, Server
from host_proxy.statements import Cluster, Statement


class Alarm(Enum):
    """What somebody should look at; the word in metrics."""

    COLLISION = "collision"  # two lists name one key identifier: start the newer enclave again
    CLAIMED_TWICE = "claimed_twice"  # two members of a cluster state one slot
    LISTS_DIFFER = "lists_differ"  # members of one cluster list other keys
    SPLIT = "split"  # two clusters that nobody drains: two crowds
    NOBODY = "nobody"  # no enclave can be announced
    UNREACHABLE = "unreachable"  # HAProxy does not answer as it should


class Standing(Enum):
    """What an enclave is at the moment; the word in metrics."""

    ANNOUNCED = "announced"
    SPARE = "spare"
    DRAINED = "drained"
    COLLIDING = "colliding"
    LOST = "lost"
    OUT = "out"


@dataclass(frozen=True, slots=True)
class Member:
    """A server and what its enclave said last; None if it does not answer."""

    server: Server
    said: Statement | None

    @property
    def name(self) -> str:
        """The server's name."""
        return self.server.name

    @property
    def cluster(self) -> Cluster | None:
        """What it states of its cluster, if it is in one."""
        return self.said.cluster if self.said is not None else None


@dataclass(frozen=True, slots=True)
class Company:
    """What the members of the announced cluster state of it, as the worst of them; 0 for none."""

    members: int = 0  # that are alive, as far as each knows
    turns: int = 0  # generations of keys that were made
    unowned: int = 0  # slots of the newest key that nobody owns


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be so."""

    places: Mapping[str, str]
    weights: Mapping[str, int]
    standings: Mapping[str, Standing]
    alarms: frozenset[Alarm]
    company: Company


def plan(members: Sequence[Member], present: Mapping[str, str]) -> Plan:
    """Return what follows from what all members say and from the `present` map."""
    routed = [member for member in members if _routed(member)]
    places, losers = _places(routed, present)
    groups = [group for group in _groups(routed, losers) if group]
    announced = _announced(groups)
    told = {member.name for member in announced}
    standings = {member.name: _standing(member, told, losers) for member in members}
    return Plan(
        places,
        {m.name: int(m.name in told) for m in members} if told else {},
        standings,
        frozenset(_alarms(routed, groups, announced, losers)),
        _company([m.cluster for m in announced if m.cluster is not None]),
    )


def _company(said: Sequence[Cluster]) -> Company:
    if not said:
        return Company()
    return Company(
        min(len(each.members) for each in said),
        max(each.turns for each in said),
        max(each.unowned for each in said),
    )


def _routed(member: Member) -> bool:
    return member.said is not None and member.server.admission is not Admission.OUT


def _stated(member: Member) -> Iterator[str]:
    """Yield the places that a member states."""
    if member.said is None:
        return
    if member.said.cluster is None:
        yield from {f"{key:02X}" for key in member.said.keys}
        return
    for key, ranges in member.said.cluster.slots:
        for first, last in ranges:
            yield from (f"{key:02X}{slot:02X}" for slot in range(first, last + 1))


def _places(
    routed: Sequence[Member], present: Mapping[str, str]
) -> tuple[dict[str, str], frozenset[str]]:
    """Return the map as it should be, and the members that came second to something."""
    by_name = {member.name: member for member in routed}
    stated = {member.name: frozenset(_stated(member)) for member in routed}
    # Who is first elsewhere, by its order here or by other places, takes none away.
    places = {place: name for place, name in present.items() if place in stated.get(name, ())}
    losers: set[str] = set()
    for member in sorted(routed, key=lambda m: not _holds(m, present)):
        taken = {place[:2]: owner for place, owner in places.items()}
        wanted = stated[member.name]
        if any(_apart(member, by_name[taken[p[:2]]]) for p in wanted if p[:2] in taken):
            losers.add(member.name)
        for place in wanted:
            other = places.setdefault(place, member.name)
            if other != member.name:
                losers.add(member.name)
    kept = {place[:2] for place in places}
    for place, name in present.items():
        if len(place) == 2 and place not in kept and name in by_name:
            places[place] = name
    return places, frozenset(losers)


def _holds(member: Member, present: Mapping[str, str]) -> bool:
    """Whether a member has one of its places already."""
    return any(present.get(place) == member.name for place in _stated(member))


def _apart(one: Member, other: Member) -> bool:
    """Whether two enclaves have nothing to do with one another."""
    if one.cluster is None or other.cluster is None:
        return one.name != other.name
    return (
        one.cluster.member not in other.cluster.members
        and other.cluster.member not in one.cluster.members
    )


def _groups(routed: Sequence[Member], losers: frozenset[str]) -> list[list[Member]]:
    """Return the enclaves whose list may be told, those of a cluster together."""
    groups: list[list[Member]] = []
    for member in routed:
        if member.name in losers or member.server.admission is not Admission.READY:
            continue
        for group in groups:
            if any(not _apart(member, other) for other in group):
                group.append(member)
                break
        else:
            groups.append([member])
    return groups


def _announced(groups: Iterable[list[Member]]) -> list[Member]:
    """Return those whose list is told: of one group, and ready ones if it has any."""

    def rank(group: list[Member]) -> tuple[bool, bool]:
        ready = any(m.said is not None and m.said.ready for m in group)
        return not ready, not any(m.server.weight for m in group)

    chosen = min(groups, key=rank, default=[])
    return [m for m in chosen if m.said is not None and m.said.ready] or chosen


def _standing(member: Member, told: set[str], losers: frozenset[str]) -> Standing:
    if member.server.admission is Admission.OUT:
        return Standing.OUT
    if member.said is None:
        return Standing.LOST
    if member.name in losers:
        return Standing.COLLIDING
    if member.name in told:
        return Standing.ANNOUNCED
    return Standing.DRAINED if member.server.admission is Admission.DRAIN else Standing.SPARE


def _alarms(
    routed: Sequence[Member],
    groups: Sequence[list[Member]],
    announced: Sequence[Member],
    losers: frozenset[str],
) -> Iterator[Alarm]:
    clustered = {member.name for member in routed if member.cluster is not None}
    if losers - clustered:
        yield Alarm.COLLISION
    if losers & clustered:
        yield Alarm.CLAIMED_TWICE
    for group in groups:
        if len({m.said.listed for m in group if m.said is not None}) > 1:
            yield Alarm.LISTS_DIFFER
    if sum(group[0].cluster is not None for group in groups) > 1:
        yield Alarm.SPLIT
    if not announced:
        yield Alarm.NOBODY

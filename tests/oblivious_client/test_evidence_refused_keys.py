"""Keys that a gateway did not know: remembered by the newest, a few of them, until answered to."""

import types
from typing import Any

import httpx
import pytest

from oblivious_client.evidence import REMEMBERED_KEYS, EvidenceSource, Held
from oblivious_client.fetching import ANEW, Flow, Pause
from oblivious_client.route import Route
from protocol.evidence import VerifiedEvidence


def verified(*keys: str) -> Any:
    """Return evidence of these keys, the one to seal to first, as far as it matters here."""
    return types.SimpleNamespace(key_configs=keys, sealing_config=keys[0])


@pytest.fixture
def source() -> EvidenceSource:
    return EvidenceSource(Route("https://relay.example/"))


def is_kept(source: EvidenceSource, *keys: str) -> bool:
    source._held = Held(verified(*keys), expires=source.clock() + 60)
    return source.kept() is not None


def test_evidence_of_a_refused_key_is_not_used(source: EvidenceSource) -> None:
    assert is_kept(source, "new", "old")
    source.refuse(verified("new", "old"))
    assert not is_kept(source, "new", "old")
    assert is_kept(source, "newer", "new")  # the newest is what is sealed to
    assert is_kept(source, "old")


def test_a_key_that_an_answer_came_to_is_refused_no_more(source: EvidenceSource) -> None:
    source.refuse(verified("one", "two"))
    source.refuse(verified("two", "one"))
    source.accept(verified("one", "two"))
    assert is_kept(source, "one")
    assert not is_kept(source, "two")
    source.accept(verified("two"))
    assert is_kept(source, "two")
    source.accept(verified("two"))  # nothing is left to forget


def test_the_last_few_are_remembered_once_each(source: EvidenceSource) -> None:
    names = [str(number) for number in range(REMEMBERED_KEYS)]
    for name in names:
        source.refuse(verified(name))
    source.refuse(verified(names[0]))  # known already: it takes nobody's place
    assert not any(is_kept(source, name) for name in names)
    source.refuse(verified("another"))
    assert [name for name in names if is_kept(source, name)] == [names[1]]


@pytest.mark.parametrize(("left", "kept"), [(0.0, False), (-1.0, False), (60.0, True)])
def test_evidence_ends_at_its_second(left: float, kept: bool) -> None:
    source = EvidenceSource(Route("https://relay.example/"), clock=lambda: 1000.0)
    source._held = Held(verified("key"), expires=1000.0 + left)
    assert (source.kept() is not None) is kept


def first_request(source: EvidenceSource) -> httpx.Headers:
    """Return the fields of the first request of a renewal."""
    request = next(source.renewed())
    assert isinstance(request, httpx.Request)
    return request.headers


def test_who_was_refused_asks_for_another_copy(source: EvidenceSource) -> None:
    plain = first_request(source)
    assert {name: plain[name] for name in ANEW if name in plain} != dict(ANEW)
    source.refuse(verified("key"))
    anew = first_request(source)
    assert {name: anew[name] for name in ANEW} == dict(ANEW)


def test_another_copy_is_asked_for_once(
    source: EvidenceSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(self: EvidenceSource, response: httpx.Response) -> Flow[VerifiedEvidence]:
        yield from ()
        found: VerifiedEvidence = verified("other")
        return found

    monkeypatch.setattr(EvidenceSource, "_verified", other)
    monkeypatch.setattr(EvidenceSource, "_hold", lambda *_: None)
    source.refuse(verified("key"))
    flow = source.renewed()
    next(flow)
    with pytest.raises(StopIteration):
        flow.send(httpx.Response(200))
    source._held = None
    plain = first_request(source)
    assert {name: plain[name] for name in ANEW if name in plain} != dict(ANEW)


@pytest.mark.parametrize("is_due", [False, True])
def test_another_key_is_waited_for_where_the_gateway_said_that_one_comes(
    source: EvidenceSource, monkeypatch: pytest.MonkeyPatch, is_due: bool
) -> None:
    def the_same(self: EvidenceSource, response: httpx.Response) -> Flow[VerifiedEvidence]:
        yield from ()
        found: VerifiedEvidence = verified("key")
        return found

    monkeypatch.setattr(EvidenceSource, "_verified", the_same)
    monkeypatch.setattr(EvidenceSource, "_hold", lambda *_: None)
    source.refuse(verified("key"), is_key_due=is_due)
    flow = source.renewed()
    next(flow)
    if is_due:
        assert isinstance(flow.send(httpx.Response(200)), Pause)
        return
    with pytest.raises(StopIteration):
        flow.send(httpx.Response(200))


def test_who_holds_what_should_hold_asks_for_another_copy(source: EvidenceSource) -> None:
    assert is_kept(source, "key")
    anew = first_request(source)
    assert {name: anew[name] for name in ANEW} == dict(ANEW)


def test_what_was_kept_on_disk_is_read_from_there_once(
    source: EvidenceSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [Held(verified("key"), expires=source.clock() + 60)]
    monkeypatch.setattr(EvidenceSource, "_stored", lambda _: stored.pop())
    assert source.kept() is source.kept() is not None
    assert stored == []


def waited_for(source: EvidenceSource) -> Any:
    """Return what one gets who has waited while another fetched."""
    flow = source.shared(renewals=source.renewals - 1)
    with pytest.raises(StopIteration) as done:
        next(flow)
    return done.value.value


def test_who_has_waited_gets_what_came_of_it(source: EvidenceSource) -> None:
    source.renewals = 1
    source._held = Held(verified("key"), expires=source.clock() + 60)
    assert waited_for(source) is source._held.verified
    source.refuse(verified("key"))  # what was refused was not, when it was fetched
    assert waited_for(source) is source._held.verified
    source._held = None
    source._failure = OSError("no connection")
    with pytest.raises(OSError, match="no connection"):
        next(source.shared(renewals=0))


def test_who_comes_later_fetches_anew(source: EvidenceSource) -> None:
    source.renewals = 1
    source._failure = OSError("no connection")
    assert isinstance(next(source.shared(renewals=1)), httpx.Request)


def test_who_has_waited_for_what_has_ended_fetches_anew(source: EvidenceSource) -> None:
    now = source.clock()
    source.clock = lambda: now
    source.renewals = 1
    for held in (None, Held(verified("key"), expires=now)):
        source._held = held
        assert isinstance(next(source.shared(renewals=0)), httpx.Request)


def test_what_has_ended_says_nothing_of_a_relays_copy(source: EvidenceSource) -> None:
    now = source.clock()
    source.clock = lambda: now
    source._held = Held(verified("key"), expires=now)
    assert "cache-control" not in first_request(source)

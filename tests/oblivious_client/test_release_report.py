"""What is said of releases, for people and for programs."""

from types import SimpleNamespace
from typing import Any

import pytest

from oblivious_client import release_report, report
from oblivious_client.releases.acceptance import accepted
from oblivious_client.releases.published import verify
from oblivious_client.releases.trust import DAY_SECONDS, Trust
from protocol.signed_note import Note
from tests.support.releases import (
    ALONE,
    BUILDERS,
    NOW,
    STRANGER,
    TRUST,
    WITNESSES,
    Log,
    change,
    log_of,
    note,
    pcrs,
    release,
)


def one(trust: Trust = TRUST, **more: object) -> tuple[str, str, str]:
    """Return line, text and list of a list with one release."""
    log = log_of(release(29, **more), trust=trust)
    log.witnesses = WITNESSES[: len(trust.witnesses.keys)]
    published = verify(log.notes(NOW - 2 * DAY_SECONDS), trust)
    (found,) = accepted(published, NOW)
    return (
        release_report.as_line(found, published, now=NOW),
        release_report.as_text(found, published, now=NOW),
        release_report.list_text(published, trust, now=NOW),
    )


def test_one_maintainer_is_shown_as_one() -> None:
    line, text, listing = one(ALONE)
    assert line == "release: 1.29.0, signed by 1 of 1 builders (1 needed); list 2 days old"
    assert "witness-a.example; 0 of them independent of the builders" in text
    assert "1 of 1 builder, 1 of 1 witness (0 independent, 1 of the builders' own)" in listing
    assert f"{WITNESSES[0].key.encode()} (of the builders)" in listing


def test_independent_witnesses_are_counted() -> None:
    _, text, listing = one()
    assert "; 1 of them independent of the builders" in text
    assert f"{WITNESSES[2].key.encode()} (independent)" in listing


def test_the_table_lines_up() -> None:
    _, text, listing = one()
    for line in (*text.splitlines(), *listing.split("\n\n")[0].splitlines()):
        assert line[13] == " "
        assert line[14] != " "


def test_changes_are_told() -> None:
    log = log_of(release(1)).add(change(TRUST, BUILDERS), note(release(29)))
    published = verify(log.notes(), TRUST)
    assert "changed" not in release_report.list_text(published, TRUST, now=NOW)
    assert "by 1 entries" in release_report.list_text(published, ALONE, now=NOW)


def test_every_entry_is_audited() -> None:
    by_stranger = Note(release(3).encode(), (STRANGER.sign(release(3).encode()),))
    log = Log(TRUST, [note(release(1)), change(TRUST, BUILDERS), by_stranger])
    lines = list(release_report.audit_lines(verify(log.notes(), TRUST)))
    assert lines == [
        "entry 1: 1.1.0 (number 1, kernel debian-6.12.117-1): "
        "signed by build-a.example, build-b.example: enough",
        "entry 2: a change of who is trusted: "
        "signed by build-a.example, build-b.example, build-c.example: enough",
        "entry 3: 1.3.0 (number 3, kernel debian-6.12.117-1): "
        "signed by nobody who is known: NOT ENOUGH, 1 of others that are not known",
    ]


def test_for_programs() -> None:
    published = verify(log_of(release(28), release(29)).notes(), TRUST)
    found = accepted(published, NOW)
    described = release_report.as_json(found[1], published, now=NOW)
    assert described["until"] == release(29).valid_from + 14 * DAY_SECONDS
    assert described["pcrs"]["PCR0"] == release(28).pcrs[0].hex()
    assert described["list"]["root"] == published.checkpoint.root.hex()
    rows = release_report.list_json(published, now=NOW)
    signed = ("builders_needed", "builders_trusted")
    assert [len(described["builders"]), *map(described.get, signed)] == [2, 2, 3]
    assert rows["trust"]["origin"] == TRUST.origin
    assert [row["until"] for row in rows["releases"]] == [described["until"], None]


def test_each_release_of_a_list_has_its_row() -> None:
    unsigned = Note(release(30).encode(), (BUILDERS[0].sign(release(30).encode()),))
    log = log_of(release(1), release(2), release(29)).add(unsigned)
    published = verify(log.notes(), TRUST)
    rows = release_report.list_text(published, TRUST, now=NOW).split("\n\n")[1].splitlines()
    begun = [report.moment(release(number).valid_from) for number in (1, 2, 29, 30)]
    until = report.moment(release(29).valid_from + 14 * DAY_SECONDS)
    both = "build-a.example, build-b.example"
    assert rows == [
        f"    1  1.1.0        {release(1).kernel:<24} PCR0 {pcrs(1)[0].hex()[:16]}…  "
        f"from {begun[0]}  {both}: will not do",
        f"    2  1.2.0        {release(2).kernel:<24} PCR0 {pcrs(2)[0].hex()[:16]}…  "
        f"from {begun[1]}  {both}: will do, until {until}",
        f"   29  1.29.0       {release(29).kernel:<24} PCR0 {pcrs(29)[0].hex()[:16]}…  "
        f"from {begun[2]}  {both}: will do",
        f"   30  1.30.0       {release(30).kernel:<24} PCR0 {pcrs(30)[0].hex()[:16]}…  "
        f"from {begun[3]}  build-a.example: NOT SIGNED by enough builders",
    ]


def test_a_list_for_programs_says_of_each_whether_it_will_do() -> None:
    published = verify(log_of(release(1), release(2), release(29)).notes(), TRUST)
    told = release_report.list_json(published, now=NOW + 60)
    assert [(row["sequence"], row["accepted"], row["signed"]) for row in told["releases"]] == [
        (1, False, True),
        (2, True, True),
        (29, True, True),
    ]
    listed = told["list"]
    assert (listed["size"], listed["floor"]) == (3, 1)
    assert listed["age_seconds"] == 60 + NOW - published.as_of
    assert listed["independent"] == [
        each.key.name for each in published.witnesses if each.key.name in TRUST.independent
    ]


class Relied:
    """What a route has of releases: a list, or none yet; and the release that runs, if any."""

    def __init__(self, published: Any, found: Any = None, warning: str = "") -> None:
        self._published, self._found, self._warning = published, found, warning

    def current(self) -> Any:
        return self._published and SimpleNamespace(published=self._published)

    def release_of(self, verified: object, now: float) -> Any:
        assert (verified, now) == (VERIFIED, NOW)
        return self._found

    def warning(self, now: float) -> str:
        assert now == NOW
        return self._warning


VERIFIED: Any = "verified"
PUBLISHED = verify(log_of(release(28), release(29)).notes(), TRUST)
FOUND = accepted(PUBLISHED, NOW)[0]


@pytest.mark.parametrize("releases", [None, Relied(None), Relied(PUBLISHED)])
def test_of_releases_that_nobody_asks_for_or_knows_nothing_is_said(releases: Any) -> None:
    assert list(release_report.lines_of(releases, VERIFIED, NOW)) == []
    assert release_report.json_of(releases, VERIFIED, NOW) == {}


def test_the_release_that_runs_is_told() -> None:
    releases: Any = Relied(PUBLISHED, FOUND)
    text = release_report.as_text(FOUND, PUBLISHED, now=NOW)
    assert list(release_report.lines_of(releases, VERIFIED, NOW)) == [text]
    told = release_report.json_of(releases, VERIFIED, NOW)
    assert told == {"release": release_report.as_json(FOUND, PUBLISHED, now=NOW)}


def test_the_list_that_was_relied_on_is_kept() -> None:
    relied: Any = Relied(PUBLISHED)
    nobody: Any = Relied(None)
    assert release_report.relied_on(relied) == PUBLISHED.notes.encode()
    assert release_report.relied_on(nobody) is release_report.relied_on(None) is None


@pytest.mark.parametrize("warning", ["", "the list is old"])
def test_what_somebody_should_look_after_comes_last(
    warning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "as_line", lambda *_, **__: "verified: all")
    route = SimpleNamespace(releases=Relied(PUBLISHED, FOUND, warning))
    source: Any = SimpleNamespace(route=route, policy=None, list_warning=None, warning="no mirror")
    assert list(release_report.lines_before(source, VERIFIED, NOW)) == [
        "verified: all",
        release_report.as_line(FOUND, PUBLISHED, now=NOW),
        *([f"warning: {warning}"] if warning else []),
        "warning: no mirror",
    ]
    source.route.releases, source.warning = None, None
    assert list(release_report.lines_before(source, VERIFIED, NOW)) == ["verified: all"]

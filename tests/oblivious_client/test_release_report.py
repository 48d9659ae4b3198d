"""What is said of releases, for people and for programs."""

from oblivious_client import release_report
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

"""What is known of releases, for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oblivious_client import report
from oblivious_client.evidence import EvidenceSource
from oblivious_client.releases import acceptance, clocks
from oblivious_client.releases.acceptance import Accepted
from oblivious_client.releases.published import Entry, Published
from oblivious_client.releases.source import Releases
from oblivious_client.releases.statements import Release
from oblivious_client.releases.trust import Trust
from protocol.evidence import VerifiedEvidence


def lines_before(source: EvidenceSource, verified: VerifiedEvidence, now: float) -> Iterator[str]:
    """Yield what is said before an answer: what was verified, of which release, and warnings."""
    yield report.as_line(verified, source.policy, now=now)
    found = _running(source.route.releases, verified, now)
    if found is not None:
        yield as_line(*found, now=now)
    yield from warnings(source, now)


def lines_of(releases: Releases | None, verified: VerifiedEvidence, now: float) -> Iterator[str]:
    """Yield what is known of the release that runs."""
    found = _running(releases, verified, now)
    if found is not None:
        yield as_text(*found, now=now)


def json_of(releases: Releases | None, verified: VerifiedEvidence, now: float) -> dict[str, Any]:
    """Return the member that says which release runs, none where nobody is asked."""
    found = _running(releases, verified, now)
    return {} if found is None else {"release": as_json(*found, now=now)}


def relied_on(releases: Releases | None) -> bytes | None:
    """Return the list that was relied on, to be kept with an answer."""
    current = None if releases is None else releases.current()
    return None if current is None else current.published.notes.encode()


def _running(
    releases: Releases | None, verified: VerifiedEvidence, now: float
) -> tuple[Accepted, Published] | None:
    if releases is None or (current := releases.current()) is None:
        return None
    found = releases.release_of(verified, now)
    return None if found is None else (found, current.published)


def warnings(source: EvidenceSource, now: float) -> Iterator[str]:
    """Yield what somebody should look after, though nothing is refused for it yet."""
    releases = source.route.releases
    if releases is not None and (warning := releases.warning(now)):
        yield f"warning: {warning}"
    for said in filter(None, (source.list_warning, source.warning)):
        yield f"warning: {said}"


def as_line(found: Accepted, published: Published, *, now: float) -> str:
    """Return in one line which release answers, for before an answer."""
    return (
        f"release: {found.release.version}, signed by {_builders(found.entry)}; "
        f"list {clocks.in_words(now - published.as_of)} old"
    )


def as_text(found: Accepted, published: Published, *, now: float) -> str:
    """Return which release runs, who vouches for it, and how old that is."""
    facts = [
        ("release", f"{found.release}, as published"),
        ("builders", f"signed by {_builders(found.entry)}: {_names(found.entry)}"),
        ("stated", f"to run from {report.moment(found.release.valid_from)}{_ending(found)}"),
        ("listed", _age(published, now)),
        ("witnesses", _witnesses(published)),
        ("commit", found.release.commit),
    ]
    return _table(facts)


def as_json(found: Accepted, published: Published, *, now: float) -> dict[str, Any]:
    """Return the same for programs; times are in Unix seconds."""
    return {
        **_described(found.entry, found.release),
        "until": found.until,
        "list": described_list(published, now=now),
    }


def list_text(published: Published, first: Trust, *, now: float) -> str:
    """Return all releases of a list, and who is trusted to make it."""
    trust = published.trust
    facts = [
        ("list", f"{trust.origin}, {published.checkpoint.size} entries"),
        ("trusted", trust.in_words()),
        ("listed", _age(published, now)),
        ("witnesses", _witnesses(published)),
        ("floor", f"{acceptance.floor(published)}: nothing below it will do"),
        *(("builder", key.encode()) for key in trust.builders.keys),
        *(("witness", _witness_key(trust, key.name, key.encode())) for key in trust.witnesses.keys),
        ("log", trust.log.encode()),
    ]
    changes = sum(not isinstance(entry.statement, Release) for entry in published.entries)
    if trust != first:
        facts.insert(2, ("changed", f"by {changes} entries that old and new builders signed"))
    will_do = {id(each.entry): each for each in acceptance.accepted(published, now)}
    lines = [
        _row(entry, release, will_do.get(id(entry))) for entry, release in published.releases()
    ]
    return "\n".join([_table(facts), "", *lines])


def described_list(published: Published, *, now: float) -> dict[str, Any]:
    """Return what a list is, for programs."""
    return {
        "origin": published.trust.origin,
        "size": published.checkpoint.size,
        "root": published.checkpoint.root.hex(),
        "as_of": published.as_of,
        "age_seconds": round(now - published.as_of),
        "fresh_until": acceptance.fresh_until(published),
        "floor": acceptance.floor(published),
        "witnesses": {each.key.name: each.time for each in published.witnesses},
        "independent": sorted(_independent(published)),
    }


def list_json(published: Published, *, now: float) -> dict[str, Any]:
    """Return all releases of a list for programs."""
    will_do = {id(each.entry): each for each in acceptance.accepted(published, now)}
    releases = [
        {
            **_described(entry, release),
            "accepted": id(entry) in will_do,
            "until": will_do[id(entry)].until if id(entry) in will_do else None,
        }
        for entry, release in published.releases()
    ]
    return {
        "list": described_list(published, now=now),
        "trust": {"origin": published.trust.origin, **published.trust.encode()},
        "releases": releases,
    }


def audit_lines(published: Published) -> Iterator[str]:
    """Yield a line for each entry, with every signature of those that are known."""
    for number, entry in enumerate(published.entries, 1):
        what = entry.statement
        name = str(what) if isinstance(what, Release) else "a change of who is trusted"
        verdict = "enough" if entry.is_signed else "NOT ENOUGH"
        unknown = len({(line.name, line.key_id) for line in entry.note.signatures}) - len(
            entry.signers
        )
        more = f", {unknown} of others that are not known" if unknown else ""
        yield f"entry {number}: {name}: signed by {_names(entry)}: {verdict}{more}"


def _described(entry: Entry, release: Release) -> dict[str, Any]:
    return {
        "version": release.version,
        "sequence": release.sequence,
        "kernel": release.kernel,
        "commit": release.commit,
        "valid_from": release.valid_from,
        "floor": release.floor,
        "pcrs": {f"PCR{index}": value.hex() for index, value in sorted(release.pcrs.items())},
        "signed": entry.is_signed,
        "builders": [key.name for key in entry.signers],
        "builders_needed": entry.trust.builders.threshold,
        "builders_trusted": len(entry.trust.builders.keys),
    }


def _row(entry: Entry, release: Release, will_do: Accepted | None) -> str:
    if will_do is not None:
        verdict = f"will do{_ending(will_do)}"
    else:
        verdict = "will not do" if entry.is_signed else "NOT SIGNED by enough builders"
    return (
        f"{release.sequence:>5}  {release.version:<12} {release.kernel:<24} "
        f"PCR0 {release.pcrs[0].hex()[:16]}…  from {report.moment(release.valid_from)}  "
        f"{_names(entry)}: {verdict}"
    )


def _ending(found: Accepted) -> str:
    return "" if found.until is None else f", until {report.moment(found.until)}"


def _builders(entry: Entry) -> str:
    count, quorum = len(entry.signers), entry.trust.builders
    return f"{count} of {len(quorum.keys)} builders ({quorum.threshold} needed)"


def _names(entry: Entry) -> str:
    return ", ".join(key.name for key in entry.signers) or "nobody who is known"


def _age(published: Published, now: float) -> str:
    return (
        f"as of {report.moment(published.as_of)}, {clocks.in_words(now - published.as_of)} ago "
        f"(at most {published.trust.fresh_days} days)"
    )


def _independent(published: Published) -> set[str]:
    return {each.key.name for each in published.witnesses} & published.trust.independent


def _witnesses(published: Published) -> str:
    names = ", ".join(each.key.name for each in published.witnesses)
    return f"{names}; {len(_independent(published))} of them independent of the builders"


def _witness_key(trust: Trust, name: str, encoded: str) -> str:
    return f"{encoded} ({'independent' if name in trust.independent else 'of the builders'})"


def _table(facts: list[tuple[str, str]]) -> str:
    return "\n".join(f"{name:<13} {fact}" for name, fact in facts)
